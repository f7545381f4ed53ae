"""Read the control plane's log from its files, entry by entry, and follow it."""

import asyncio
import logging
import os
import re
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from koco.control import log_file
from koco.errors import UsageError
from koco.events import line
from koco.store.errors import invalid_cursor

#: The names of levels, from the least serious one.
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: How much is read at once (bytes).
_PIECE_BYTES = 256 * 1024
#: The shortest time between two reads of one follower (seconds).
_PACE_S = 0.05

_HEAD = re.compile(
    rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([A-Z]+) (\S+) (?:\[([A-Za-z0-9._-]+)\] )?",
    re.MULTILINE,
)
#: A fid, which is not all hexadecimal, as ids of requests are.
_FID = re.compile(r"\b(?=[0-9a-z]*[g-z])[0-9a-hjkmnp-tv-z]{16}\b")
_CURSOR = re.compile(r"(\d{1,19})\.(\d{1,18})")


class Entry(msgspec.Struct, frozen=True):
    """An entry: `request` and `fid` are those that it concerns, if that is known."""

    cursor: str
    ts: str
    level: str
    logger: str
    message: str
    request: str | None
    fid: str | None
    #: The trace of that execution, and the span that stands for all of it.
    trace_id: str | None = None
    span_id: str | None = None


class Wanted(NamedTuple):
    """Which entries are wanted: of a level or a more serious one, from a time on, the last ones."""

    level: str = LEVELS[0]
    since: str | None = None
    tail: int | None = None

    def has(self, entry: Entry) -> bool:
        """Return whether an entry is wanted, `tail` aside."""
        if self.since is not None and entry.ts < self.since:
            return False
        return (
            logging.getLevelNamesMapping().get(entry.level, logging.INFO)
            >= (logging.getLevelNamesMapping()[self.level])
        )


class Files:
    """The log's files as one text, read from a place on. Closed by `close`."""

    def __init__(self, path: Path, cursor: str | None = None) -> None:
        """Begin after a cursor; if its file is gone, at the beginning of the oldest one.

        Raises:
            UsageError: the cursor was never issued.
        """
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = self._offset = 0
        if cursor is not None:
            if (match := _CURSOR.fullmatch(cursor)) is None:
                raise invalid_cursor(cursor[:80])
            self._inode, self._offset = int(match[1]), int(match[2])

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> list[Entry]:
        """Return the next entries, or none if there are no more now."""
        while True:
            if self._file is None and not self._open():
                return []
            assert self._file is not None
            self._file.seek(self._offset)
            data = self._file.read(_PIECE_BYTES)
            # A line may be written at this moment.
            data = data[: data.rfind(b"\n") + 1]
            if data:
                if entries := self._split(data, is_cut=len(data) > _PIECE_BYTES // 2):
                    return entries
            elif not self._go_on():
                return []

    def _split(self, data: bytes, *, is_cut: bool) -> list[Entry]:
        """Return the entries in some data; the last one only if no more of it may follow.

        Lines before the first entry are left out: they are the rest of a long one.
        """
        heads = list(_HEAD.finditer(data))
        ends = [each.start() for each in heads[1:]] + [len(data)]
        if is_cut and len(heads) > 1:
            heads, ends = heads[:-1], ends[:-1]
        entries = [
            _entry(head, data[head.end() : end], f"{self._inode}.{self._offset + end}")
            for head, end in zip(heads, ends, strict=False)  # no head: only such a rest
        ]
        self._offset += ends[-1]
        return entries

    def _open(self) -> bool:
        files = self._files()
        if not files:
            return False
        if self._inode not in files:
            self._inode, self._offset = next(iter(files)), 0
        with suppress(OSError):
            self._file = files[self._inode].open("rb")
            if os.fstat(self._file.fileno()).st_ino == self._inode:
                return True
            self.close()  # it was renamed just now
        return False

    def _go_on(self) -> bool:
        """Go on with the next file if the present one is complete."""
        inodes = list(self._files())
        if not inodes or self._inode == inodes[-1]:
            return False
        at = inodes.index(self._inode) + 1 if self._inode in inodes else 0
        self.close()
        self._inode, self._offset = inodes[at], 0
        return True

    def _files(self) -> dict[int, Path]:
        """Return the files by their numbers, oldest first."""
        names = [f"{self._path}.{number}" for number in range(log_file.BACKUPS, 0, -1)]
        found: dict[int, Path] = {}
        for name in (*names, str(self._path)):
            path = Path(name)
            with suppress(OSError):
                found[path.stat().st_ino] = path
        return found


def check_level(level: str | None) -> str:
    """Return a level by its name in any case.

    Raises:
        UsageError: it is none.
    """
    name = (level or LEVELS[0]).upper()
    if name not in LEVELS:
        hint = f"one of: {', '.join(LEVELS).lower()}"
        raise UsageError(f"no level is called {(level or '')[:80]!r}", hint=hint)
    return name


async def read(
    path: Path, wanted: Wanted, *, cursor: str | None, follow: bool, heartbeat_s: float
) -> AsyncGenerator[list[Entry]]:
    """Yield the wanted entries, in their order. An empty list is a heartbeat, for a follower."""
    files = Files(path, cursor)
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(event.set)

    if follow:
        log_file.followers.add(tell)
    try:
        last: deque[Entry] | None = None if wanted.tail is None else deque(maxlen=wanted.tail)
        while True:
            event.clear()
            if entries := await asyncio.to_thread(files.read):
                found = [each for each in entries if wanted.has(each)]
                if last is not None:
                    last.extend(found)
                elif found:
                    yield found
                continue
            if last:
                yield list(last)
            last = None  # what comes from now on is wanted, too
            if not follow:
                return
            try:
                async with asyncio.timeout(heartbeat_s):  # as in `koco.control.events.changes`
                    await event.wait()
                await asyncio.sleep(_PACE_S)
            except TimeoutError:
                yield []
    finally:
        log_file.followers.discard(tell)
        files.close()


def _entry(head: "re.Match[bytes]", body: bytes, cursor: str) -> Entry:
    second, milli, level, logger, found = head.groups()
    seconds = datetime.fromisoformat(second.decode()).timestamp()  # in local time, as it is written
    message = body.decode("utf-8", "replace").removesuffix("\n").replace("\n  ", "\n")
    request = found.decode() if found and found != b"-" else None
    fids = _FID.findall(message)
    return Entry(
        cursor=cursor,
        ts=line.timestamp(seconds + int(milli) / 1000 + 1e-6),
        level=level.decode(),
        logger=logger.decode(),
        message=message,
        request=request,
        fid=fids[0] if fids else None,
    )
