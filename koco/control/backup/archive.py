"""The format of a backup: a tar file, in this order.

`koco-backup.json` (a `Head`), `store.db`, `secrets.key` if there are secrets, `blobs/SHA256` for
each blob, and `end.json` (an `End`), without which it is incomplete. Everybody who can read it can
read all secrets, so its mode is 0600.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from koco.errors import KocoError, UsageError

#: The members' names.
HEAD, STORE, KEY, BLOBS, END = "koco-backup.json", "store.db", "secrets.key", "blobs/", "end.json"
#: The version of the format.
FORMAT = 1
#: A tar file ends with two blocks of zeros, and consists of blocks (bytes).
BLOCK = 512
CLOSE = bytes(2 * BLOCK)

_PIECE_BYTES = 512 * 1024
#: The largest `Head` and `End` (bytes).
_SMALL = 1 << 20


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first member: what the backup is of. `store` is the version of the store's tables.

    `size_bytes` is the size of all that follows, or 0 in backups of earlier versions.
    """

    format: int
    koco: str
    store: int
    url: str
    created: str
    blobs: int
    size_bytes: int = 0


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The last member: the SHA-256 of the members that are not named by theirs."""

    sha256: dict[str, str]


class BackupError(UsageError):
    """A file is not a complete backup."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member while a backup is read: its name, its size, and its content in pieces."""

    name: str
    size_bytes: int
    pieces: Iterator[bytes]


def header(name: str, size_bytes: int) -> bytes:
    """Return what stands before a member's content."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size_bytes: int) -> bytes:
    """Return what stands behind a member's content."""
    return bytes(-size_bytes % BLOCK)


def size(content_bytes: int) -> int:
    """Return the size of a member with what stands before and behind its content (bytes)."""
    return BLOCK + content_bytes + len(padding(content_bytes))


def announced(start: bytes) -> int | None:
    """Return the size of a whole backup (bytes), from its start; None if that is too short.

    It is 0 if the backup does not say its size.
    """
    if len(start) < BLOCK:
        return None
    try:
        content_bytes = tarfile.TarInfo.frombuf(start[:BLOCK], "utf-8", "replace").size
        if len(start) < BLOCK + content_bytes <= BLOCK + _SMALL:
            return None
        head = msgspec.json.decode(start[BLOCK : BLOCK + content_bytes], type=Head)
    except (tarfile.TarError, msgspec.DecodeError, msgspec.ValidationError):
        return 0  # it is damaged, or no backup: `read` says what is wrong
    return size(content_bytes) + head.size_bytes if head.size_bytes else 0


def read(path: Path, take: Callable[[Member], None] = lambda _: None) -> Head:
    """Read a whole backup and return its head. Each member but head and end is given to `take`.

    Raises:
        BackupError: it is not a backup, is incomplete, or is damaged.
        UsageError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        # Other errors of the system are those of `take`, whose disk may be full.
        with file, tarfile.open(fileobj=file, mode="r|") as tar:
            return _read(tar, path, take)
    except (tarfile.TarError, EOFError, msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise _damaged(path, "it is not a backup, or ends too early") from exc


def _read(tar: tarfile.TarFile, path: Path, take: Callable[[Member], None]) -> Head:
    head: Head | None = None
    hashes: dict[str, str] = {}
    blobs = 0
    for info in tar:
        file = tar.extractfile(info) if info.isreg() else None
        if file is None:
            raise _damaged(path, f"{info.name!r} is not a file")
        if head is None:
            head = _head(info, file, path)
        elif info.name == END:
            end = msgspec.json.decode(file.read(_SMALL), type=End)
            if hashes != end.sha256 or blobs != head.blobs:
                raise _damaged(path, "its parts are not those that were written")
            return head
        else:
            digest = hashlib.sha256()
            take(Member(info.name, info.size, _pieces(file, digest)))
            for _ in _pieces(file, digest):
                pass  # whatever was not taken
            if info.name in (STORE, KEY):
                hashes[info.name] = digest.hexdigest()
            elif info.name != BLOBS + digest.hexdigest():
                raise _damaged(path, f"{info.name!r} is not what its name says")
            else:
                blobs += 1
    raise _damaged(path, "it ends too early")


def _head(info: tarfile.TarInfo, file: IO[bytes], path: Path) -> Head:
    if info.name != HEAD:
        raise _damaged(path, "it is not a backup")
    head = msgspec.json.decode(file.read(_SMALL), type=Head)
    if head.format != FORMAT:
        raise BackupError(
            f"{path} was written by koco {head.koco} in a newer format", hint="upgrade koco here"
        )
    return head


def _pieces(file: IO[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        yield piece


def _damaged(path: Path, why: str) -> KocoError:
    return BackupError(f"{path} cannot be restored: {why}", hint="`koco backup` makes another")
