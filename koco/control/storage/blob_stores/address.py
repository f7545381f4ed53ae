"""The place of blobs, as users give it: a directory, or `s3://BUCKET/PREFIX`."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from koco.control.storage.blob_stores.directory import Directory
from koco.control.storage.blob_stores.protocol import BlobStore
from koco.errors import UsageError

_SCHEME = "s3"
#: What S3 and its relatives accept as a bucket's name.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.IGNORECASE)
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
_HINT = "such as s3://my-bucket/koco"


class Bucket(NamedTuple):
    """A bucket, and what the names of its blobs begin with."""

    name: str
    prefix: str


def is_s3(place: str) -> bool:
    """Whether a place for blobs is in a bucket, and not a directory."""
    return place.startswith(f"{_SCHEME}://")


def bucket(url: str) -> Bucket:
    """Return the bucket that a URL names.

    Raises:
        UsageError: it is not such a URL, or it has keys: other users of the machine would see them.
    """
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise UsageError(f"not a place for blobs: {exc}", hint=_HINT) from exc
    if parts.scheme != _SCHEME:
        raise UsageError(f"blobs cannot be kept at a URL of {parts.scheme[:20]}://", hint=_HINT)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "the URL of a bucket has a name and a prefix, no keys and no options",
            hint="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL say"
            " these, or ~/.aws/credentials on the head",
        )
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc):
        raise UsageError(f"{url[:200]!r} names no bucket", hint=_HINT)
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise UsageError(f"{prefix[:200]!r} cannot be a prefix in a bucket", hint=_HINT)
    return Bucket(parts.netloc, prefix)


def check(place: str) -> str:
    """Return a checked place, in one spelling.

    Raises:
        UsageError: it is none.
    """
    if "://" not in place:
        return place
    name, prefix = bucket(place)
    return f"{_SCHEME}://{name}/{prefix}".rstrip("/")


def make(place: str, data_dir: Path, *, values: dict[str, str] | None = None) -> BlobStore:
    """Return the place for blobs: a directory, a bucket, or that in the data directory if none.

    `values` are variables for S3 instead of those that count here (`s3_access.load`).

    Raises:
        UsageError: this Python lacks the library for S3, or the settings for it are wrong.
    """
    if not place:
        return Directory(data_dir / "blobs")
    if not is_s3(place):
        return Directory(Path(place))
    from koco.control.storage.blob_stores.s3 import S3  # its library, which few need

    return S3(*bucket(place), data_dir, values=values)
