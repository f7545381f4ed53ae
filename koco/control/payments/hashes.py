"""The hashes of a job's input and output, as MIP-004 defines them.

The purchaser and the seller of a job compute both, and the blockchain keeps them. So each has to
be computed here exactly as it is there.
"""

import hashlib
import json
from typing import Any

from koco.control.payments import canonical_json


def hash_input(input_data: dict[str, Any], identifier: str) -> str:
    """Return the hash of a job's input, under the identifier that its purchaser gave it.

    Raises:
        UsageError: the input has no canonical text.
    """
    return _hash(identifier, canonical_json.encode(input_data))


def hash_output(output: str, identifier: str, *, escaped: bool = False) -> str:
    """Return the hash of a job's result, which is a text.

    `escaped` hashes the text as it stands within JSON, as the package `masumi` does. MIP-004 hashes
    it as it is. Both are equal for a text without quotes, backslashes and control characters.
    """
    shown = json.dumps(output, ensure_ascii=False)[1:-1] if escaped else output
    return _hash(identifier, shown.encode("utf-8", "replace"))


def _hash(identifier: str, data: bytes) -> str:
    before = f"{identifier};".encode("utf-8", "replace")
    return hashlib.sha256(before + data).hexdigest()
