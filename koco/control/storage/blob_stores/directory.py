"""Blobs as files in a directory: that in the data directory, or one that machines share.

A blob is made beside its place and renamed, so no other process, here or on another machine, sees
half of one.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from koco.control.storage.blob_stores.protocol import BlobsAwayError, missing
from koco.control.storage.disk import no_room
from koco.disk_sync import sync
from koco.errors import UsageError

T = TypeVar("T")

#: How much is read at once (bytes).
_PIECE_BYTES = 512 * 1024
#: How many old blobs are handed out at once.
_BATCH = 1000
#: The folder of files that are still being written.
_NEW = ".new"


class Directory:
    """The blobs in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def location(self) -> str:
        """The directory."""
        return str(self._root)

    def path(self, sha256: str) -> Path:
        """Return the file of a blob, which need not exist."""
        return self._root / sha256[:2] / sha256

    async def check(self) -> None:
        """Write a file, list it, read it and remove it. See `BlobStore.check`."""
        name = f"check-{secrets.token_hex(8)}"

        def run() -> None:
            new = self._new(name)
            try:
                new.write_bytes(b"koco")
                if new not in new.parent.iterdir() or new.read_bytes() != b"koco":
                    raise OSError(errno.EIO, "what was written cannot be read")
            finally:
                new.unlink(missing_ok=True)

        try:
            await asyncio.to_thread(run)
        except OSError as exc:
            raise UsageError(
                f"cannot keep blobs in {self._root}: {exc.strerror or exc}",
                hint="`--blobs` needs a directory that koco may write to, or s3://BUCKET/PREFIX",
            ) from exc

    async def size(self, sha256: str) -> int | None:
        """Return the size of a blob (bytes), or None if there is none."""

        def look() -> int | None:
            try:
                return self.path(sha256).stat().st_size
            except FileNotFoundError:
                self._require_root()
                return None

        return await self._read(look)

    async def renew(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob of that size exists; it counts as new then."""

        def touch() -> bool:
            with contextlib.suppress(FileNotFoundError):
                path = self.path(sha256)
                if path.stat().st_size == size_bytes:
                    os.utime(path)
                    return True
            return False

        return await self._read(touch)

    async def add(self, sha256: str, part: Path) -> None:
        """Move a file to its place, or copy it if the place is on another disk."""
        await self._write(lambda: self._take(sha256, part))

    async def put(self, sha256: str, data: bytes) -> None:
        """Make a blob of content whose hash this is."""

        def write(new: Path) -> None:
            new.write_bytes(data)

        await self._write(lambda: self._make(sha256, write))

    async def open(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return the bytes of a blob from `start` on, in pieces."""

        def begin() -> BinaryIO | None:
            try:
                return self.path(sha256).open("rb")
            except FileNotFoundError:
                self._require_root()
                return None

        if (file := await self._read(begin)) is None:
            raise missing(sha256, self.location)
        return _pieces(file, start)

    async def old(self, before: float) -> AsyncIterator[list[str]]:
        """Yield the blobs that were added or renewed before a time. Removes abandoned files."""
        abandoned = await asyncio.to_thread(lambda: [*_older(self._root.glob(f"{_NEW}/*"), before)])
        await asyncio.to_thread(_remove, abandoned, before)
        found = _older(self._root.glob("??/*"), before)
        while names := await asyncio.to_thread(lambda: [p.name for p in islice(found, _BATCH)]):
            yield names

    async def remove(self, names: Iterable[str], *, before: float) -> None:
        """Remove blobs, except those that have been added again since `before`."""
        await asyncio.to_thread(_remove, map(self.path, names), before)

    async def sign(self, sha256: str, lifetime_s: float) -> str | None:
        """Return None: nothing but the control plane serves this directory."""
        return None

    async def _read(self, look: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(look)
        except OSError as exc:
            raise self._away("read", exc) from exc

    def _require_root(self) -> None:
        """Refuse to take blobs for removed whose directory is away.

        Raises:
            OSError: it is.
        """
        self._root.stat()

    def _away(self, verb: str, exc: OSError) -> BlobsAwayError:
        return BlobsAwayError(
            f"cannot {verb} a blob in {self._root}: {exc.strerror or exc}",
            hint="is its disk mounted, and may the user that runs Ray write there?",
        )

    async def _write(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(write)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise no_room(f"{exc.strerror} in {self._root}") from exc
            raise self._away("write", exc) from exc

    def _take(self, sha256: str, part: Path) -> None:
        path = self.path(sha256)
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            os.utime(part)  # its last bytes may have arrived long ago
            part.replace(path)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise

            def copy(new: Path) -> None:
                shutil.copyfile(part, new)

            self._make(sha256, copy)
            return
        self._sync(path)

    def _make(self, sha256: str, write: Callable[[Path], None]) -> None:
        """Have a file written beside the place of a blob, make it durable, and rename it."""
        new, path = self._new(f"{sha256}-{secrets.token_hex(8)}"), self.path(sha256)
        try:
            write(new)
            new.chmod(0o600)
            sync(new)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        self._sync(path)

    def _new(self, name: str) -> Path:
        folder = self._root / _NEW
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / name

    def _sync(self, path: Path) -> None:
        sync(path.parent)
        sync(self._root)


async def _pieces(file: BinaryIO, start: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _remove(paths: Iterable[Path], before: float) -> None:
    # Slow, because freeing a large file takes time.
    for path in _older(paths, before):
        path.unlink(missing_ok=True)


def _older(paths: Iterable[Path], before: float) -> Iterator[Path]:
    for path in paths:
        # Another process may have removed it since it was listed.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                yield path
