"""Lines that have no end yet, where they survive their process: `print("50 %", end="")`.

Like the backlog a file that is mapped into memory, of slots. A slot has one thread's line of one
kind, which is overwritten as it grows. The first one says whose pipes the runner has at 1 and 2.
"""

import logging
import mmap
import os
import struct
from pathlib import Path

import msgspec

from koco.events.model import Kind
from koco.sdk import secrets

log = logging.getLogger(__name__)

_NAME = "unfinished"
_SLOTS = 64
#: How much of a line is kept (bytes, with what says whose it is).
_SLOT_BYTES = 4096
#: At the beginning of a slot: how much is in it.
_SIZE = struct.Struct("I")


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Whose line it is. `is_first` is that of the thread that wrote first, and of subprocesses."""

    fid: str
    attempt: int
    kind: Kind
    is_first: bool


class Unfinished:
    """The file of one runner. Each slot is written by who holds the lock of its line."""

    def __init__(self, directory: Path) -> None:
        self._map: mmap.mmap | None = None
        self._free = list(range(1, _SLOTS))
        size = _SLOTS * _SLOT_BYTES
        try:
            fd = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
                self._map = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        except OSError as exc:
            log.warning("lines without an end are not kept in a file: %s", exc)

    def of(self, fid: str, attempt: int) -> "Lines":
        """Return what keeps the lines of an attempt of an execution."""
        return Lines(self, fid, attempt)

    def own_pipes(self, fid: str, attempt: int) -> None:
        """Say whose output the pipes take; nobody's without a fid."""
        whose = msgspec.json.encode(Line(fid, attempt, Kind.STDOUT, is_first=True))
        self.set(0, whose + b"\n" if fid else b"")

    def take(self) -> int | None:
        """Return a slot that nobody has."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def give(self, slot: int) -> None:
        """Give a slot back, emptied."""
        self.set(slot, b"")
        self._free.append(slot)

    def set(self, slot: int, data: bytes) -> None:
        """Have this in a slot; of what is too long the beginning."""
        if self._map is None:
            return
        at = slot * _SLOT_BYTES
        data = data[: _SLOT_BYTES - _SIZE.size]
        # A process may be killed in between: then it has nothing, rather than half of it.
        _SIZE.pack_into(self._map, at, 0)
        self._map[at + _SIZE.size : at + _SIZE.size + len(data)] = data
        _SIZE.pack_into(self._map, at, len(data))


class Lines:
    """The unfinished lines of one attempt, by kind and thread (None is the first one)."""

    def __init__(self, file: Unfinished, fid: str, attempt: int) -> None:
        self._file = file
        self._fid = fid
        self._attempt = attempt
        self._slots: dict[tuple[Kind, int | None], tuple[int, bytes]] = {}

    def keep(self, kind: Kind, thread: int | None, text: str) -> None:
        """Keep what a thread has written of a line; an empty text ends it."""
        found = self._slots.get((kind, thread))
        if not text:
            if found is not None and thread is None:
                self._file.set(found[0], b"")
            elif found is not None:  # threads come and go
                self._file.give(self._slots.pop((kind, thread))[0])
            return
        if found is None:
            if (slot := self._file.take()) is None:
                return
            whose = Line(self._fid, self._attempt, kind, thread is None)
            found = self._slots[kind, thread] = slot, msgspec.json.encode(whose) + b"\n"
        masked = secrets.mask(text).encode("utf-8", "backslashreplace")
        self._file.set(found[0], found[1] + masked)

    def close(self) -> None:
        """Keep nothing any more."""
        while self._slots:
            self._file.give(self._slots.popitem()[1][0])


def read(directory: Path) -> tuple[Line | None, list[tuple[Line, str]]]:
    """Return whose the pipes of a dead process were, and the lines that it has not ended."""
    try:
        data = (directory / _NAME).read_bytes()
    except OSError:
        return None, []
    found: list[tuple[Line, str]] = []
    owner: Line | None = None
    for at in range(0, len(data), _SLOT_BYTES):
        [size] = _SIZE.unpack_from(data, at)
        head, _, text = data[at + _SIZE.size : at + _SIZE.size + size].partition(b"\n")
        if not head:
            continue
        line = msgspec.json.decode(head, type=Line)
        if at == 0:
            owner = line
        else:
            found.append((line, text.decode("utf-8", "ignore")))
    return owner, found
