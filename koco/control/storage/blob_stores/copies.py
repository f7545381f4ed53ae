"""Files with the content of blobs that are not files here: copies, kept for the next use.

Bundles are read again and again: to list them, and by each node that starts a process of them. Any
copy can be removed at any time, and is fetched again.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

from koco.control.storage.blob_stores.protocol import BlobStore
from koco.control.storage.disk import Disk
from koco.errors import KocoError

#: How much the copies may take (bytes), and how long the last ones stay anyway (seconds), because
#: they are being read.
_MOST_BYTES = 1024**3
_USED_S = 600.0


class Copies:
    """The copies in a folder."""

    def __init__(self, folder: Path, kept: BlobStore, disk: Disk) -> None:
        self._folder = folder
        self._kept = kept
        self._disk = disk
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, sha256: str, *, size_bytes: int) -> Path:
        """Return a file with the content of a blob, which exists and has that size.

        Raises:
            NotFoundError: the blob was removed meanwhile.
            NoRoomError: the disk has no room for a copy.
            BlobsAwayError: the storage does not answer.
            KocoError: what it answers is not the blob.
        """
        turn = self._turns.setdefault(sha256, asyncio.Lock())
        path = self._folder / sha256
        async with turn:
            if not await asyncio.to_thread(_use, path, size_bytes):
                with self._disk.promised(size_bytes):
                    await self._fetch(sha256, path)
                await asyncio.to_thread(_make_room, self._folder, time.time() - _USED_S)
        return path

    async def take(self, sha256: str, path: Path) -> None:
        """Make a copy of a file with that content, by moving it."""

        def move() -> None:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            os.utime(path)
            path.replace(self._folder / sha256)
            _make_room(self._folder, time.time() - _USED_S)

        await asyncio.to_thread(move)

    async def _fetch(self, sha256: str, path: Path) -> None:
        new = path.with_name(f".{sha256}-{secrets.token_hex(4)}")
        digest = hashlib.sha256()
        try:
            with await asyncio.to_thread(_create, new) as file:
                async for piece in await self._kept.open(sha256):
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)
            require_hash(digest.hexdigest(), sha256, self._kept.location)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def require_hash(found: str, sha256: str, location: str) -> None:
    """Refuse content that is not the blob of that name.

    Raises:
        KocoError: somebody has changed it.
    """
    if found != sha256:
        raise KocoError(
            f"the blob {sha256} in {location} is damaged: its content has the SHA-256 {found}",
            hint="put it back from a backup, or upload it again",
        )


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _use(path: Path, size_bytes: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == size_bytes:
            os.utime(path)
            return True
    return False


def _make_room(folder: Path, before: float) -> None:
    """Remove the copies that were not used for longest, as far as there are too many."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may share the folder
            found.append((path.stat(), path))
    found.sort(key=lambda each: each[0].st_mtime, reverse=True)
    total = 0
    for stat, path in found:
        total += stat.st_size
        is_left = path.name.startswith(".")  # by a process that has died
        if stat.st_mtime < before and (is_left or total > _MOST_BYTES):
            path.unlink(missing_ok=True)
