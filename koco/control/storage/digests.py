"""SHA-256 digests as names of bundles and of blobs."""

import re

from koco.errors import UsageError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check(sha256: str) -> str:
    """Return a digest that is safe as a file's name.

    Raises:
        UsageError: `sha256` is not a SHA-256.
    """
    if not _SHA256.fullmatch(sha256):
        raise UsageError(f"not a SHA-256 in lower-case hexadecimal: {sha256[:80]!r}")
    return sha256
