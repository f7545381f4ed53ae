"""Blobs on disk, by their SHA-256, and the uploads that become blobs.

An upload is a part, one for each user and blob, to which pieces are appended. What
a broken connection or a dead process delivered stays, and the next request goes on
from there. Once a part has its length, its hash is checked, it is made durable and
renamed: a blob is there as a whole or not at all. All that touches the disk happens
in threads, for events must not wait for it.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import BinaryIO

from koco.errors import (
    ConflictError,
    KocoError,
    LimitError,
    NotFoundError,
    TimedOutError,
    UsageError,
)
from koco.events import line
from koco.store.model import MB
from koco.store.protocol import Store

#: What is written or read at once (bytes).
PIECE_BYTES = 512 * 1024
#: How long an upload may be silent before its part is free for another request (seconds).
_SILENCE_S = 20.0
#: How long parts are kept, and blobs that nothing names (seconds).
_KEEP_S = 24 * 3600.0
#: How much uploads leave free for the store, which is on the same disk (bytes).
_RESERVE_BYTES = 64 * MB
#: Blobs that are asked about in one transaction.
_BATCH = 1000

_SHA256 = re.compile(r"[0-9a-f]{64}")


class NoRoomError(KocoError):
    """The disk is full. Nothing of the piece that did not fit is counted."""

    http_status = 507
    code = "no_room"


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

    def __init__(self, data_dir: Path, store: Store, *, max_file_mb: float) -> None:
        self._blobs = data_dir / "blobs"
        self._parts = data_dir / "parts"
        self._store = store
        self._max_file_mb = max_file_mb
        self._open: dict[str, _Part] = {}
        # Held while a blob comes to be, and while one is taken for garbage and removed.
        self._settling = asyncio.Lock()
        for directory in (self._blobs, self._parts):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Return where a blob is, if it is there.

        Raises:
            UsageError: that is no SHA-256.
        """
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"not a SHA-256 in lower-case hexadecimal: {sha256[:80]!r}")
        return self._blobs / sha256[:2] / sha256

    async def state(self, user: str, sha256: str) -> tuple[int, bool]:
        """Return how much of a user's blob is here (bytes), and whether that is all of it."""
        path = self.path(sha256)
        size = await self._store.uploaded(user, sha256)
        if size is not None and path.is_file():
            return size, True
        name = _name(user, sha256)
        # Nothing is made of a mere question: anybody with a key may ask for any hash.
        part = self._open.get(name) or _Part(self._parts / name)
        return part.arrived, False

    async def receive(
        self, user: str, sha256: str, *, offset: int, length: int, body: AsyncIterator[bytes]
    ) -> int:
        """Append what comes to a user's part, from `offset`; return how much there is then.

        With all `length` bytes there, it becomes a blob that the user may name.

        Raises:
            OffsetError: the part ends elsewhere, or is being written to (`BusyError`).
            LimitError: it is larger than this control plane takes.
            NoRoomError: the disk is full.
            UsageError: it has another hash, and the part is gone; or more than `length` bytes.
        """
        self._check_length(length)
        name = _name(user, self.path(sha256).name)
        part = self._open.setdefault(name, _Part(self._parts / name))
        if part.is_busy:
            raise BusyError(
                f"another request uploads {sha256} at this moment",
                offset=part.arrived,
                hint="go on from Upload-Offset when it has ended",
            )
        part.is_busy = True
        try:
            if await self.state(user, sha256) == (length, True):
                return length  # asked again: the answer was lost on its way
            await asyncio.to_thread(part.load)
            if offset != part.size:
                what = f"the upload of {sha256} goes on from {part.size}, not from {offset}"
                raise OffsetError(what, offset=part.size)
            await asyncio.to_thread(self._require_room, length - part.size)
            await _take(part, body, length)
            if part.size == length:
                await self._finish(part, user, sha256)
            return part.size
        finally:
            part.is_busy = False
            if not part.path.exists():
                self._open.pop(name, None)

    def _check_length(self, length: int) -> None:
        if length < 0:
            raise UsageError(f"Upload-Length cannot be negative, got {length}")
        if length > self._max_file_mb * MB:
            raise LimitError(
                f"the file has {length / MB:.1f} MB;"
                f" this control plane's KOCO_MAX_FILE_MB is {self._max_file_mb:g}",
                hint="start it with a larger KOCO_MAX_FILE_MB (`koco down`, `koco up`)",
            )

    def _require_room(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self._parts).free - _RESERVE_BYTES
        if size_bytes > free:
            raise _no_room(f"{size_bytes / MB:.1f} MB more are needed, {max(free, 0) / MB:.1f} are")

    async def _finish(self, part: "_Part", user: str, sha256: str) -> None:
        await asyncio.to_thread(part.settle, sha256)
        async with self._settling:
            await asyncio.to_thread(_move, part.path, self.path(sha256))
            await self._store.add_upload(user, sha256, part.size)

    async def collect(self) -> int:
        """Remove parts older than a day, and blobs that nothing names; return how many."""
        before = time.time() - _KEEP_S
        count = 0
        for path in await asyncio.to_thread(_older, self._parts.glob("*"), before):
            part = self._open.get(path.name)
            if part is None or not part.is_busy:
                self._open.pop(path.name, None)
                path.unlink(missing_ok=True)
                count += 1
        blobs = await asyncio.to_thread(_older, self._blobs.glob("??/*"), before)
        for at in range(0, max(len(blobs), 1), _BATCH):
            names = [path.name for path in blobs[at : at + _BATCH]]
            async with self._settling:
                unnamed = await self._store.unnamed(names, before=line.timestamp(before))
                for name in unnamed:
                    self.path(name).unlink(missing_ok=True)
            count += len(unnamed)
        return count

    def read(self, sha256: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Return a blob from its byte `start` on, in pieces.

        Raises:
            NotFoundError: somebody has removed it from the data directory.
        """
        try:
            file = self.path(sha256).open("rb")
        except FileNotFoundError as exc:
            raise NotFoundError(f"the blob {sha256} is not in the data directory") from exc
        return _pieces(file, start)


class _Part:
    """What has arrived of one user's blob. Its methods block; one caller at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.is_busy = False
        self._digest = None if path.exists() else hashlib.sha256()

    @property
    def arrived(self) -> int:
        """How many bytes are here, also before `load`."""
        return self.size if self._digest else self.path.stat().st_size

    def load(self) -> None:
        """Read what an earlier process left, for its part of the hash."""
        if self._digest is not None:
            return
        digest, size = hashlib.sha256(), 0
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
        self._digest, self.size = digest, size

    def append(self, pieces: list[bytes]) -> None:
        """Write pieces at the end; either all of them count or none."""
        assert self._digest is not None
        data = b"".join(pieces)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            left, at = memoryview(data), self.size
            while left:
                # At its place, not at the end: what came of a piece that did not fit is there.
                written = os.pwrite(descriptor, left, at)
                left, at = left[written:], at + written
        except OSError as exc:
            raise _no_room(exc.strerror or str(exc)) from exc
        finally:
            os.close(descriptor)
        self._digest.update(data)
        self.size += len(data)

    def settle(self, sha256: str) -> None:
        """Check the hash and make what was written durable."""
        assert self._digest is not None
        if (found := self._digest.hexdigest()) != sha256:
            self.path.unlink(missing_ok=True)
            raise UsageError(
                f"the SHA-256 of what arrived is {found}, not {sha256}; it was removed",
                hint="did the file change while it was uploaded? upload it again",
            )
        with self.path.open("ab") as file:  # made here where the file is empty
            os.fsync(file.fileno())


async def _take(part: _Part, body: AsyncIterator[bytes], length: int) -> None:
    """Append a body to a part; what came before it broke is kept."""
    pieces: list[bytes] = []
    gathered = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SILENCE_S) as silence:
            async for data in body:
                # The disk may be slow: a thread that writes must not be left alone.
                silence.reschedule(None)
                if part.size + gathered + len(data) > length:
                    raise UsageError(f"the upload has more than its Upload-Length, {length} bytes")
                pieces.append(data)
                gathered += len(data)
                if gathered >= PIECE_BYTES:
                    taken, pieces, gathered = pieces, [], 0
                    await asyncio.to_thread(part.append, taken)
                silence.reschedule(loop.time() + _SILENCE_S)
    except TimeoutError:
        raise TimedOutError(f"nothing of the upload came for {_SILENCE_S:g} s") from None
    finally:
        if pieces:
            await asyncio.to_thread(part.append, pieces)


async def _pieces(file: BinaryIO, start: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _name(user: str, sha256: str) -> str:
    """Return what a part is called: with a digest, for a user's name is no part of a path."""
    return f"{hashlib.sha256(user.encode()).hexdigest()[:32]}-{sha256}"


def _move(part: Path, blob: Path) -> None:
    blob.parent.mkdir(exist_ok=True, mode=0o700)
    part.replace(blob)
    # The names are durable with this, not before.
    for directory in (blob.parent, blob.parent.parent):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _older(paths: Iterable[Path], before: float) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        # A part may have become a blob since it was listed.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                found.append(path)
    return found


def _no_room(what: str) -> NoRoomError:
    return NoRoomError(
        f"the control plane's disk is full: {what}",
        hint="make room in its data directory; the upload goes on where it ended",
    )
