"""Blobs, by their SHA-256, and the uploads that become blobs.

An upload is a part file, one for each user and blob, to which pieces are appended. If a connection
breaks or the process dies, its part stays, and the next request continues it. Once a part is
complete, its hash is checked, and it becomes a blob (`koco.control.storage.blob_stores`), so a blob
exists as a whole or not at all. All disk access happens in threads, because events must not wait
for it. Unfinished uploads count against a quota of the uploader, and are removed when nothing more
arrives. They are of one process: at another one, an upload begins anew.
"""

import asyncio
import contextlib
import hashlib
import math
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from koco.control.settings import Settings
from koco.control.storage import digests
from koco.control.storage.blob_stores.copies import Copies, require_hash
from koco.control.storage.blob_stores.directory import Directory
from koco.control.storage.blob_stores.protocol import BlobStore, missing
from koco.control.storage.disk import Disk
from koco.control.storage.garbage import Garbage
from koco.control.storage.unfinished import Unfinished, name_of, upload_name
from koco.control.storage.upload import PIECE_BYTES, Part, take
from koco.disk_sync import sync
from koco.errors import ConflictError, KocoError, LimitError, UnauthorizedError, UsageError
from koco.sizes import MB
from koco.store.store import Store

#: How long unreferenced blobs are kept (seconds).
_KEEP_S = 24 * 3600.0
#: The most of a blob that is read into memory (bytes): results of steps have less, and files that
#: are shown to agents.
_MOST_WHOLE_BYTES = 64 * MB
#: How long it is remembered that a blob exists, where to ask takes a request (seconds).
_SEEN_S = 60.0


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
    """The blobs of a control plane, and the parts in its data directory."""

    def __init__(
        self,
        data_dir: Path,
        store: Store,
        settings: Settings,
        disk: Disk,
        *,
        kept: BlobStore | None = None,
    ) -> None:
        """Blobs are in `kept`; by default they are files in the data directory."""
        self.kept = kept or Directory(data_dir / "blobs")
        self.garbage = Garbage(self.kept, store, settings)
        self._copies = Copies(data_dir / "copies", self.kept, disk)
        self._parts = data_dir / "parts"
        self._store = store
        self._settings = settings
        self._disk = disk
        self._open: dict[str, Part] = {}
        #: The parts that are becoming blobs.
        self._finishing: dict[str, asyncio.Task[None]] = {}
        #: Until when (monotonic seconds) blobs are known to exist.
        self._seen: dict[str, float] = {}
        self._parts.mkdir(parents=True, exist_ok=True, mode=0o700)
        _take_over_bundles(data_dir / "bundles", self.kept)
        #: Uploads of all kinds. Here a part has its size or, during an upload, the announced one.
        self.unfinished = Unfinished(settings)
        self._sizes = self.unfinished.sizes
        self._sizes.update({path.name: path.stat().st_size for path in self._parts.iterdir()})
        #: The parts whose owner has ended while they are being written to.
        self._ended: set[str] = set()

    @property
    def largest_bytes(self) -> float:
        """The size limit of a file (bytes)."""
        return self._settings.max_file_mb * MB

    async def has(self, sha256: str) -> bool:
        """Return whether a blob exists, or has existed a minute ago."""
        now = time.monotonic()
        if now < self._seen.get(sha256, -math.inf):
            return True
        found = await self.kept.size(digests.check(sha256)) is not None
        if found and self.kept.path(sha256) is None:
            self._seen = {name: at for name, at in self._seen.items() if at > now}
            self._seen[sha256] = now + _SEEN_S
        return found

    async def file(self, sha256: str) -> Path:
        """Return a file with the content of a blob, to be read soon.

        Raises:
            NotFoundError: there is no such blob.
            KocoError: see `Copies.of`.
        """
        size_bytes = await self.kept.size(digests.check(sha256))
        if size_bytes is None:
            raise missing(sha256, self.kept.location)
        path = self.kept.path(sha256)
        return path or await self._copies.of(sha256, size_bytes=size_bytes)

    async def state(self, user: str, sha256: str, *, by: str = "") -> tuple[int, bool]:
        """Return how much of a user's blob has arrived (bytes), and whether it is complete.

        `by` is the uploader, if that is not the user: an unfinished part belongs to the uploader.
        """
        digests.check(sha256)
        size = await self._store.uploads.renew(user, sha256)
        if size is not None and await self.kept.size(sha256) is not None:
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
        is_read_soon: bool = False,
    ) -> int:
        """Append a body to a user's part, from `offset`; return the size afterwards.

        With all `length` bytes there, it becomes a blob that the user may reference. If it
        `is_read_soon`, a copy stays here. For `by` see `state`.

        Raises:
            OffsetError: the part ends elsewhere, or is being written to (`BusyError`).
            LimitError: it is larger than this control plane accepts.
            TooManyError: the uploader's unfinished uploads have reached the limit of number or
                size.
            NoRoomError: the disk is full, or will be once the other uploads are complete.
            BlobsAwayError: the storage of blobs does not answer. The part stays complete, and the
                next request, with no more bytes, tries again.
            UsageError: the body has more than `length` bytes; or the hash is wrong, and the part
                was removed.
        """
        self.check_length(length)
        name = upload_name(by or user, digests.check(sha256))
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
                await self._finish_once(name, part, user, sha256, is_read_soon=is_read_soon)
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

    async def put(
        self, sha256: str, data: bytes, *, events_bytes: int = 0, is_last: bool = False
    ) -> None:
        """Store a large part of an event as a blob.

        Use `garbage.spare` from before this call until something in the store names the blob.
        `Disk.apart` says how much of the disk it may use.

        Raises:
            NoRoomError: the disk is full.
            BlobsAwayError: the storage of blobs does not answer.
        """
        if await self.kept.renew(sha256, len(data)):
            return  # it was put when its event was first sent, which had no room
        with contextlib.ExitStack() as room:
            if self.kept.path(sha256) is not None:
                room.enter_context(
                    self._disk.apart(len(data), events_bytes=events_bytes, is_last=is_last)
                )
            await self.kept.put(sha256, data)

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

    async def _finish_once(
        self, name: str, part: Part, user: str, sha256: str, *, is_read_soon: bool
    ) -> None:
        """Make a blob of a part, also if the request ends meanwhile; the next one waits for it."""
        task = self._finishing.get(name)
        if task is None:
            work = self._finish(part, user, sha256, is_read_soon=is_read_soon)
            task = asyncio.create_task(work)
            self._finishing[name] = task
            task.add_done_callback(lambda done: self._note_finished(name, done))
        await asyncio.shield(task)

    def _note_finished(self, name: str, task: "asyncio.Task[None]") -> None:
        self._finishing.pop(name, None)
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more

    async def _finish(
        self, part: Part, user: str, sha256: str, *, is_read_soon: bool = False
    ) -> None:
        await asyncio.to_thread(part.settle, sha256)
        async with self.garbage.spare(sha256):
            await self.kept.add(sha256, part.path)
            async with self.garbage.settling:
                await self._store.uploads.add(user, sha256, part.size)
        if is_read_soon and self.kept.path(sha256) is None:
            await self._copies.take(sha256, part.path)
        await asyncio.to_thread(part.path.unlink, missing_ok=True)

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
        return count + await self.garbage.collect(time.time() - _KEEP_S)

    async def open(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return the bytes of a blob from `start` on, in pieces. See `BlobStore.open`."""
        return await self.kept.open(digests.check(sha256), start=start)

    async def content(self, sha256: str) -> bytes:
        """Return the whole content of a blob that is not large.

        Raises:
            NotFoundError: there is no such blob.
            BlobsAwayError: the storage of blobs does not answer.
            KocoError: somebody has changed it.
        """
        pieces: list[bytes] = []
        left_bytes = _MOST_WHOLE_BYTES
        async for piece in await self.open(sha256):
            pieces.append(piece)
            left_bytes -= len(piece)
            if left_bytes < 0:  # whoever has changed it there could send without end
                raise KocoError(
                    f"the blob {sha256} in {self.kept.location} is damaged: it has more than"
                    f" {_MOST_WHOLE_BYTES / MB:g} MB",
                    hint="put it back from a backup",
                )
        data = b"".join(pieces)
        found = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        require_hash(found, sha256, self.kept.location)
        return data


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


def _take_over_bundles(folder: Path, kept: BlobStore) -> None:
    """Move bundles from where older versions had them, if blobs are files, as they were then."""
    for former in folder.glob("*.zip"):
        if (path := kept.path(former.stem)) is None:
            return
        path.parent.mkdir(exist_ok=True, mode=0o700)
        former.replace(path)
        sync(path.parent)
        sync(path.parent.parent)
    shutil.rmtree(folder, ignore_errors=True)


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
