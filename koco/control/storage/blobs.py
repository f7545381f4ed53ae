"""Blobs on disk, by their SHA-256, and the uploads that become blobs.

An upload is a part file, one for each user and blob, to which pieces are appended. If a connection
breaks or the process dies, its part stays, and the next request continues it. Once a part is
complete, its hash is checked, and it is made durable and renamed, so a blob exists as a whole or
not at all. All disk access happens in threads, because events must not wait for it. Unfinished
uploads count against a quota of the uploader, and are removed when nothing more arrives.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from koco.control.settings import Settings
from koco.control.storage import digests
from koco.control.storage.disk import Disk, no_room
from koco.control.storage.unfinished import Unfinished, name_of, upload_name
from koco.control.storage.upload import PIECE_BYTES, Part, take
from koco.disk_sync import sync
from koco.errors import ConflictError, LimitError, NotFoundError, UnauthorizedError, UsageError
from koco.events import line
from koco.sizes import MB
from koco.store.store import Store

#: How long unreferenced blobs are kept (seconds).
_KEEP_S = 24 * 3600.0
#: How many blobs one transaction looks up.
_BATCH = 1000


class OffsetError(ConflictError):
    """An upload that does not go on where its part ends; `headers` say where that is."""

    code = "offset"

    def __init__(self, message: str, *, offset: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Upload-Offset": str(offset)}


class BusyError(OffsetError):
    """Another request is appending to the same part: 423."""

    http_status = 423
    code = "busy"


class Blobs:
    """The blobs and parts in a data directory."""

    def __init__(self, data_dir: Path, store: Store, settings: Settings, disk: Disk) -> None:
        self._blobs = data_dir / "blobs"
        self._parts = data_dir / "parts"
        self._store = store
        self._settings = settings
        self._disk = disk
        self._open: dict[str, Part] = {}
        #: Held while a blob is created or referenced, and while garbage is found and removed.
        self.settling = asyncio.Lock()
        for directory in (self._blobs, self._parts):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for former in (data_dir / "bundles").glob("*.zip"):
            _move(former, self.path(former.stem))  # the location of bundles in older versions
        shutil.rmtree(data_dir / "bundles", ignore_errors=True)
        #: Uploads of all kinds. Here a part has its size or, during an upload, the announced one.
        self.unfinished = Unfinished(settings)
        self._sizes = self.unfinished.sizes
        self._sizes.update({path.name: path.stat().st_size for path in self._parts.iterdir()})
        #: How many need that no blob is removed.
        self._holds = 0
        #: The parts whose owner has ended while they are being written to.
        self._ended: set[str] = set()

    @property
    def largest_bytes(self) -> float:
        """The size limit of a file (bytes)."""
        return self._settings.max_file_mb * MB

    def path(self, sha256: str) -> Path:
        """Return the path of a blob, which need not exist.

        Raises:
            UsageError: `sha256` is not a SHA-256.
        """
        return self._blobs / digests.check(sha256)[:2] / sha256

    async def state(self, user: str, sha256: str, *, by: str = "") -> tuple[int, bool]:
        """Return how much of a user's blob has arrived (bytes), and whether it is complete.

        `by` is the uploader, if that is not the user: an unfinished part belongs to the uploader.
        """
        path = self.path(sha256)
        size = await self._store.uploads.renew(user, sha256)
        if size is not None and path.is_file():
            return size, True
        name = upload_name(by or user, sha256)
        # A mere question creates nothing, because anybody with a key may ask for any hash.
        part = self._open.get(name) or Part(self._parts / name)
        return part.arrived, False

    async def receive(
        self,
        user: str,
        sha256: str,
        *,
        offset: int,
        length: int,
        body: AsyncIterator[bytes],
        by: str = "",
    ) -> int:
        """Append a body to a user's part, from `offset`; return the size afterwards.

        With all `length` bytes there, it becomes a blob that the user may reference. For `by` see
        `state`.

        Raises:
            OffsetError: the part ends elsewhere, or is being written to (`BusyError`).
            LimitError: it is larger than this control plane accepts.
            TooManyError: the uploader's unfinished uploads have reached the limit of number or
                size.
            NoRoomError: the disk is full, or will be once the other uploads are complete.
            UsageError: the body has more than `length` bytes; or the hash is wrong, and the part
                was removed.
        """
        self.check_length(length)
        name = upload_name(by or user, self.path(sha256).name)
        part = self._open.setdefault(name, Part(self._parts / name))
        if part.is_busy:
            raise BusyError(
                f"another request is uploading {sha256}",
                offset=part.arrived,
                hint="continue from Upload-Offset when it has ended",
            )
        part.is_busy = True
        try:
            if await self.state(user, sha256, by=by) == (length, True):
                return length  # a repeated request, whose first answer was lost
            await asyncio.to_thread(part.load)
            if offset != part.size:
                what = f"the upload of {sha256} continues from {part.size}, not from {offset}"
                raise OffsetError(what, offset=part.size)
            self.unfinished.require(name, length, whose=name_of(by or user))
            self._sizes[name] = length
            with self._disk.promised(length - part.size) as promise:
                await take(part, body, length, promise)
            if part.size == length:
                await self._finish(part, user, sha256)
            return part.size
        finally:
            part.is_busy = False
            if name in self._ended:
                self._ended.discard(name)
                part.path.unlink(missing_ok=True)
            if part.path.exists():
                self._sizes[name] = part.arrived
            else:
                self._sizes.pop(name, None)
                self._open.pop(name, None)

    async def receive_content(
        self, user: str, body: AsyncIterator[bytes], *, by: str = ""
    ) -> tuple[str, int]:
        """Make a blob of a body whose hash and size are not known before; return both.

        The user may reference it. If the body breaks off, nothing is kept. For `by` see `state`.

        Raises:
            LimitError: it is larger than this control plane accepts.
            TooManyError: the user's unfinished uploads have reached the limit of number or size.
            NoRoomError: the disk is full.
            UnauthorizedError: the uploader was removed meanwhile.
        """
        name = upload_name(by or user, secrets.token_hex(32))
        part = Part(self._parts / name)
        self._open[name], part.is_busy = part, True
        try:
            async for pieces, size_bytes in _gathered(body):
                self.check_length(part.size + size_bytes)
                whose = name_of(by or user)
                self.unfinished.require(name, part.size + size_bytes, whose=whose)
                self._sizes[name] = part.size + size_bytes
                with self._disk.piece(size_bytes):
                    await asyncio.to_thread(part.append, pieces)
            if name in self._ended:
                raise UnauthorizedError(f"{name_of(by or user)!r} may no longer upload")
            await self._finish(part, user, sha256 := part.sha256)
            return sha256, part.size
        finally:
            part.path.unlink(missing_ok=True)
            self._ended.discard(name)
            self._open.pop(name, None)
            self._sizes.pop(name, None)

    async def put(self, data: bytes, *, events_bytes: int = 0, is_last: bool = False) -> str:
        """Store a large part of an event as a blob; return its SHA-256.

        Hold `settling` from before this call until something in the store names the blob.
        `Disk.apart` says how much of the disk it may use.

        Raises:
            NoRoomError: the disk is full.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if await asyncio.to_thread(_renew, self.path(sha256), len(data)):
            return sha256  # it was put when its event was first sent, which had no room
        part = Part(self._parts / secrets.token_hex(32))
        try:
            with self._disk.apart(len(data), events_bytes=events_bytes, is_last=is_last):
                await asyncio.to_thread(_write, part, data, sha256, self.path(sha256))
        finally:
            part.path.unlink(missing_ok=True)
        return sha256

    def check_length(self, length: int) -> None:
        """Check the size of a file (bytes).

        Raises:
            UsageError: it is negative.
            LimitError: it is larger than this control plane accepts.
        """
        if length < 0:
            raise UsageError(f"Upload-Length cannot be negative, got {length}")
        if length > self.largest_bytes:
            raise LimitError(
                f"the file has {length / MB:.4g} MB;"
                f" this control plane's max_file_mb is {self._settings.max_file_mb:g}",
                hint="its operator can change that: `koco up --set max_file_mb=…`",
            )

    async def end(self, owner: str) -> None:
        """Remove the parts of an owner that is no longer one."""
        paths = []
        for name in self.unfinished.of(owner):
            part = self._open.get(name)
            if part is not None and part.is_busy:
                self._ended.add(name)  # its request is about to be refused, and removes it
            elif (path := self._parts / name).exists():
                self._open.pop(name, None)
                self._sizes.pop(name, None)
                paths.append(path)
        await asyncio.to_thread(_remove, paths)

    async def _finish(self, part: Part, user: str, sha256: str) -> None:
        await asyncio.to_thread(part.settle, sha256)
        async with self.settling:
            await asyncio.to_thread(_move, part.path, self.path(sha256))
            await self._store.uploads.add(user, sha256, part.size)

    async def collect(self) -> int:
        """Remove parts that have been idle for long, and unreferenced blobs.

        Returns how many were removed.
        """
        count = 0
        since = time.time() - self._settings.unfinished_hours * 3600
        for path in await asyncio.to_thread(_older, self._parts.glob("*"), since):
            part = self._open.get(path.name)
            if part is None or not part.is_busy:
                self._open.pop(path.name, None)
                self._sizes.pop(path.name, None)
                path.unlink(missing_ok=True)  # in the loop: no request can begin to append
                count += 1
        before = time.time() - _KEEP_S
        blobs = await asyncio.to_thread(_older, self._blobs.glob("??/*"), before)
        for at in range(0, max(len(blobs), 1), _BATCH):
            names = [path.name for path in blobs[at : at + _BATCH]]
            async with self.settling:
                if self._holds:
                    break
                unnamed = await self._store.uploads.find_unused(
                    names,
                    before=line.timestamp(before),
                    keep_releases=self._settings.keep_releases,
                )
                await asyncio.to_thread(_remove, map(self.path, unnamed))
            count += len(unnamed)
        return count

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every blob, also those that nothing refers to any more, while the block runs.

        Enter it while holding `settling`.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def read(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return the bytes of a blob from `start` on, in pieces.

        Raises:
            NotFoundError: the blob was removed from the data directory by hand.
        """
        try:
            file = self.path(sha256).open("rb")
        except FileNotFoundError as exc:
            raise NotFoundError(f"the blob {sha256} is not in the data directory") from exc
        return _pieces(file, start)


async def _gathered(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[list[bytes], int]]:
    """Yield a body in pieces of a size that is worth a write, and the size (bytes)."""
    pieces: list[bytes] = []
    size_bytes = 0
    async for data in body:
        pieces.append(data)
        size_bytes += len(data)
        if size_bytes >= PIECE_BYTES:
            yield pieces, size_bytes
            pieces, size_bytes = [], 0
    yield pieces, size_bytes


async def _pieces(file: BinaryIO, start: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _move(part: Path, blob: Path) -> None:
    blob.parent.mkdir(exist_ok=True, mode=0o700)
    part.replace(blob)
    sync(blob.parent)
    sync(blob.parent.parent)


def _write(part: Part, data: bytes, sha256: str, blob: Path) -> None:
    try:
        part.append([data])
        part.settle(sha256)
        _move(part.path, blob)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise no_room(exc.strerror or str(exc)) from exc


def _renew(blob: Path, size_bytes: int) -> bool:
    """Keep a blob from being collected for a while; return whether it exists."""
    try:
        if blob.stat().st_size != size_bytes:
            return False
        os.utime(blob)
    except FileNotFoundError:
        return False
    return True


def _remove(paths: Iterable[Path]) -> None:
    # Slow, because freeing a large file takes time.
    for path in paths:
        path.unlink(missing_ok=True)


def _older(paths: Iterable[Path], before: float) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        # A part may have become a blob since it was listed.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                found.append(path)
    return found
