"""The room on the disk of the data directory, and how it is shared.

A reserve (the setting `disk_reserve_mb`) is kept for urgent writes: cancelling, revoking, deleting,
and the ends of executions. Large writes are stopped earlier: uploads when twice the reserve is
left, events and the files of large step results when the reserve is left, and anything else that
is new when half of it is left. A part of the reserve is held by the store's engine, because other
programs may fill the disk as well.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from koco.control.settings import Settings
from koco.errors import NoRoomError
from koco.sizes import MB
from koco.store.engine.protocol import Engine
from koco.store.model import Room

log = logging.getLogger(__name__)

#: How old a reading of the disk may be (seconds).
_FRESH_S = 0.1
#: How often room that was given up is requested again (seconds).
_AGAIN_S = 10.0
#: The reserve is at most this fraction (1/n) of a disk, so that a small disk is useful as well.
_LARGEST_SHARE = 5
#: The fraction (1/n) of the reserve that is a file.
_BALLAST_SHARE = 8
#: How much of the store's free space is given back to the disk at a time (bytes). It moves pages,
#: for which all other writes wait.
_PIECE_BYTES = 4 * MB
#: An event is written twice: to the store's log first, and then to its file.
_TWICE = 2


class Disk:
    """The disk that `directory` is on. Call its methods only in the control plane's event loop."""

    def __init__(self, directory: Path, settings: Settings, engine: Engine) -> None:
        self._directory = directory
        self._settings = settings
        self._engine = engine
        self._seen_at = -math.inf
        self._free = self._total = self._reusable = self._missing = 0
        #: Bytes that are being written, and bytes written since the last reading of the disk.
        self._under_way = self._written = 0
        #: Bytes that are still to come of current uploads.
        self._promised = 0

    @property
    def reserve_bytes(self) -> int:
        """The size of the reserve (bytes)."""
        self._look()
        return int(min(self._settings.disk_reserve_mb * MB, self._total / _LARGEST_SHARE))

    def room(self, size_bytes: int) -> Room:
        """Return which events there is room for, if `size_bytes` are to be added."""
        reserve = self.reserve_bytes
        left = self._left_after(size_bytes * _TWICE, reserve)
        if left >= reserve:
            return Room.AMPLE
        return Room.LOW if left >= reserve / 2 else Room.NONE

    def require_room(self) -> None:
        """Check the room for a launch, a release or a file's name; for events see `room`.

        Raises:
            NoRoomError: half of the reserve is used.
        """
        if self._free_bytes() < self.reserve_bytes / 2:
            raise no_room(self.trouble or "")

    @contextmanager
    def writing(self, size_bytes: int) -> Iterator[None]:
        """Count bytes that are being added to the store, until a reading of the disk shows them."""
        with self._counted(size_bytes * _TWICE):
            yield

    @contextmanager
    def promised(self, size_bytes: int) -> Iterator["Promise"]:
        """Count the expected bytes of an upload, for as long as it is under way.

        Raises:
            NoRoomError: the other uploads leave too little room.
        """
        promise = Promise(self, size_bytes)
        free = self._for_uploads()
        if size_bytes > free - self._promised:
            promised = f", of which {self._promised / MB:.1f} are promised" * bool(self._promised)
            raise no_room(
                f"{size_bytes / MB:.1f} MB are needed, {max(free, 0) / MB:.1f} MB are free"
                f"{promised} (disk_reserve_mb is {self._settings.disk_reserve_mb:g})"
            )
        self._promised += size_bytes
        try:
            yield promise
        finally:
            self._promised -= promise.left_bytes

    @contextmanager
    def piece(self, size_bytes: int) -> Iterator[None]:
        """Find room for a piece of a file whose size is not announced, while the block writes it.

        Raises:
            NoRoomError: there is too little room.
        """
        with self.promised(size_bytes) as promise:
            promise.require_room(size_bytes)
            yield
            promise.fulfil(size_bytes)

    @contextmanager
    def apart(
        self, size_bytes: int, *, events_bytes: int = 0, is_last: bool = False
    ) -> Iterator[None]:
        """Find room for a large part of an event, which the block writes into a file of its own.

        As events do (see `room`), it may use the disk down to the reserve; if its execution has
        returned, down to half of the reserve. `events_bytes` is the size of the events that come
        with it and need room, too.

        Raises:
            NoRoomError: there is too little room.
        """
        least = self.reserve_bytes / 2 if is_last else self.reserve_bytes
        taken = size_bytes + events_bytes * _TWICE
        left = self._left_after(taken, least)
        if left < least:
            raise no_room(f"{size_bytes / MB:.1f} MB are needed, {self._describe(left + taken)}")
        with self._counted(size_bytes):
            yield

    @property
    def trouble(self) -> str | None:
        """Why events wait, or None if they do not."""
        left = self._free_bytes()
        if left >= self.reserve_bytes:
            return None
        return f"{self._describe(left)}: events wait"

    async def keep(self) -> None:
        """Hold a part of the reserve as a file, without end: again after it was given up.

        Where uploads have little room, they get that of the rows that were deleted.
        """
        while True:
            await self._give_back()
            wanted = self.reserve_bytes // _BALLAST_SHARE
            # Room that was given up counts as taken already. A new file must leave the reserve.
            more = 0 if self._missing else wanted
            if self._free_bytes() - more >= self.reserve_bytes:
                await asyncio.to_thread(self._engine.hold, wanted)
                self._seen_at = -math.inf
            await asyncio.sleep(_AGAIN_S)

    async def _give_back(self) -> None:
        """Give the store's free space to the disk until uploads have as much as the reserve."""
        while self._is_short() and (before := self._reusable):
            await self._engine.give_back(_PIECE_BYTES)
            self._seen_at = -math.inf
            self._look()
            if self._reusable >= before:
                return  # the file keeps its size: an earlier version made it

    def _is_short(self) -> bool:
        """Whether uploads have little room, and moving pages has some."""
        reserve = self.reserve_bytes
        return self._for_uploads() < reserve and self._free_bytes() >= reserve / 2 + _PIECE_BYTES

    @contextmanager
    def _counted(self, size_bytes: int) -> Iterator[None]:
        """Count bytes that the block writes, until a reading of the disk shows them."""
        self._under_way += size_bytes
        try:
            yield
        finally:
            self._under_way -= size_bytes
            self._written += size_bytes

    def _left_after(self, size_bytes: int, least: float) -> int:
        """Return how much is left after a write of this size (bytes).

        If that seems to be below `least`, the disk is read again.
        """
        left = self._free_bytes() - size_bytes
        if left < least and self._written:
            self._seen_at = -math.inf  # the writes may have taken less than was counted
            left = self._free_bytes() - size_bytes
        return left

    def _describe(self, left: int) -> str:
        return (
            f"{max(left, 0) / MB:.1f} MB are left on the disk of {self._directory}, of which koco"
            f" keeps {self.reserve_bytes / MB:.1f} (disk_reserve_mb)"
        )

    def _free_bytes(self) -> int:
        """Return how much the store could still take (bytes), including the whole reserve."""
        self._look()
        free = self._free - self._under_way - self._written - self._missing
        # Deleted rows leave room in the store's file, but its log needs the disk all the same.
        return free + min(self._reusable, max(free, 0))

    def _for_uploads(self) -> int:
        self._look()
        taken = self._under_way + self._written + self._missing
        return self._free - taken - 2 * self.reserve_bytes

    def _look(self) -> None:
        """Read the state of the disk, unless the last reading is fresh."""
        now = time.monotonic()
        if now - self._seen_at < _FRESH_S:
            return
        self._seen_at, self._written = now, 0
        found = os.statvfs(self._directory)
        self._free, self._total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        self._reusable, self._missing = self._engine.reusable_bytes(), self._engine.missing_bytes()


class Promise:
    """The bytes that an upload has announced and not delivered yet."""

    def __init__(self, disk: Disk, size_bytes: int) -> None:
        self._disk = disk
        self.left_bytes = size_bytes

    def require_room(self, size_bytes: int) -> None:
        """Check that there is room for a piece, because other writes may have taken it meanwhile.

        Raises:
            NoRoomError: fewer than `size_bytes` are free.
        """
        free = self._disk._for_uploads()
        if size_bytes > free:
            raise no_room(f"{max(free, 0) / MB:.1f} MB are free by now")

    def fulfil(self, size_bytes: int) -> None:
        """Count a piece that has been written to the disk (bytes)."""
        self._disk._written += size_bytes
        self._disk._promised -= size_bytes
        self.left_bytes -= size_bytes


def no_room(what: str) -> NoRoomError:
    """Return the error for a full disk."""
    return NoRoomError(
        f"the control plane's disk is full: {what}",
        hint="make room on the disk of its data directory, or delete executions (`koco delete`);"
        " an upload goes on where it ended",
    )
