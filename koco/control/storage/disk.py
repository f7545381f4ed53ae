"""The room on the disk of the data directory, and who may still take some of it.

A reserve (the setting `disk_reserve_mb`) is kept for what must not wait: cancelling,
revoking, deleting, and the ends of executions. Whoever brings much is stopped before:
uploads where twice the reserve is left, events where the reserve is left, and whatever
else is new where half of it is left. Others may fill the disk as well, so a part of the
reserve is a file (`koco.store.sqlite.ballast`).
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from koco.control.settings import Settings
from koco.errors import NoRoomError
from koco.store.model import MB, Room

log = logging.getLogger(__name__)

#: How old what was seen of the disk may be (seconds).
_FRESH_S = 0.1
#: How often the room that was given up is asked for again (seconds).
_AGAIN_S = 10.0
#: The most of a disk that is kept as reserve: a small one is to be of use as well.
_LARGEST_SHARE = 5
#: What part of the reserve is a file.
_BALLAST_SHARE = 8
#: An event is written to the store's log first, and then to its file.
_TWICE = 2


class Held(Protocol):
    """A store that is on the disk."""

    def reusable_bytes(self) -> int:
        """Return how much is free within its file."""
        ...

    def hold(self, size_bytes: int) -> bool:
        """Have it hold so much room for what must be written; False where there is not so much."""
        ...

    def missing_bytes(self) -> int:
        """Return how much of that it had to give up."""
        ...


class Disk:
    """The disk that `directory` is on. All methods belong to the control plane's loop."""

    def __init__(self, directory: Path, settings: Settings, store: Held) -> None:
        self._directory = directory
        self._settings = settings
        self._store = store
        self._seen_at = -math.inf
        self._free = self._total = self._reusable = self._missing = 0
        #: What is being written, and what was since the disk was last looked at (bytes).
        self._under_way = self._written = 0
        #: What uploads that are under way still bring (bytes).
        self._promised = 0

    @property
    def reserve_bytes(self) -> int:
        """How much is kept free for what must not wait."""
        self._look()
        return int(min(self._settings.disk_reserve_mb * MB, self._total / _LARGEST_SHARE))

    def room(self, size_bytes: int) -> Room:
        """Return which events there is room for, where so much is to be added (bytes)."""
        size_bytes *= _TWICE
        left, reserve = self._left() - size_bytes, self.reserve_bytes
        if left < reserve and self._written:
            self._seen_at = -math.inf  # what was written took less than it was counted for
            left = self._left() - size_bytes
        if left >= reserve:
            return Room.AMPLE
        return Room.LOW if left >= reserve / 2 else Room.NONE

    def require_room(self) -> None:
        """Refuse what is new and no event: a launch, a release, a file's name.

        Raises:
            NoRoomError: half of the reserve is used.
        """
        if self._left() < self.reserve_bytes / 2:
            raise no_room(self.trouble or "")

    @contextmanager
    def writing(self, size_bytes: int) -> Iterator[None]:
        """Count what is being added to the store (bytes), until the disk shows it."""
        size_bytes *= _TWICE
        self._under_way += size_bytes
        try:
            yield
        finally:
            self._under_way -= size_bytes
            self._written += size_bytes

    @contextmanager
    def promised(self, size_bytes: int) -> Iterator["Promise"]:
        """Count what an upload is going to bring (bytes), for as long as it is under way.

        Raises:
            NoRoomError: with what others are bringing there is not so much room.
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

    @property
    def trouble(self) -> str | None:
        """Why events wait, if they do."""
        left = self._left()
        if left >= self.reserve_bytes:
            return None
        return (
            f"{max(left, 0) / MB:.1f} MB are left on the disk of {self._directory}, of which koco"
            f" keeps {self.reserve_bytes / MB:.1f} (disk_reserve_mb): events wait"
        )

    async def keep(self) -> None:
        """Hold a part of the reserve as a file, for ever: again where it was given up."""
        while True:
            wanted = self.reserve_bytes // _BALLAST_SHARE
            # What was given up counts as taken; what never was held must leave others their room.
            more = 0 if self._missing else wanted
            if self._left() - more >= self.reserve_bytes:
                await asyncio.to_thread(self._store.hold, wanted)
                self._seen_at = -math.inf
            await asyncio.sleep(_AGAIN_S)

    def _left(self) -> int:
        """Return what the store could still take (bytes), all of the reserve included."""
        self._look()
        free = self._free - self._under_way - self._written - self._missing
        # What was deleted from the store is free in its file; its log needs the disk all the same.
        return free + min(self._reusable, max(free, 0))

    def _for_uploads(self) -> int:
        self._look()
        taken = self._under_way + self._written + self._missing
        return self._free - taken - 2 * self.reserve_bytes

    def _look(self) -> None:
        """Look at the disk, if that is some time ago."""
        now = time.monotonic()
        if now - self._seen_at < _FRESH_S:
            return
        self._seen_at, self._written = now, 0
        found = os.statvfs(self._directory)
        self._free, self._total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        self._reusable, self._missing = self._store.reusable_bytes(), self._store.missing_bytes()


class Promise:
    """What an upload has announced and not brought yet."""

    def __init__(self, disk: Disk, size_bytes: int) -> None:
        self._disk = disk
        self.left_bytes = size_bytes

    def require_room(self, size_bytes: int) -> None:
        """Refuse a piece: others may have taken the room meanwhile, who promised nothing.

        Raises:
            NoRoomError: there is not so much room (bytes).
        """
        free = self._disk._for_uploads()
        if size_bytes > free:
            raise no_room(f"{max(free, 0) / MB:.1f} MB are free by now")

    def kept(self, size_bytes: int) -> None:
        """Hear that a piece is on the disk (bytes)."""
        self._disk._written += size_bytes
        self._disk._promised -= size_bytes
        self.left_bytes -= size_bytes


def no_room(what: str) -> NoRoomError:
    """Return the error for a disk that is full."""
    return NoRoomError(
        f"the control plane's disk is full: {what}",
        hint="make room on the disk of its data directory, or delete executions (`koco delete`);"
        " an upload goes on where it ended",
    )
