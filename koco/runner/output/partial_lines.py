"""Keep unfinished lines in a file, so that they survive the process: `print("50 %", end="")`.

Like the backlog, this is a file that is mapped into memory. It consists of slots. A slot holds
one thread's line of one kind and is overwritten as the line grows. The first slot instead names
the execution that has the runner's pipes at 1 and 2.
"""

import logging
import mmap
import struct
from pathlib import Path

import msgspec

from koco.events.model import Kind
from koco.runner.output.pipe_buffer import mapped_file
from koco.sdk.process import secrets

log = logging.getLogger(__name__)

_NAME = "unfinished"
_SLOTS = 64
#: How much of a line is kept (bytes, including the head that says whose it is).
_SLOT_BYTES = 4096
#: The number at the beginning of a slot: how much of it is used (bytes).
_SIZE = struct.Struct("I")


class Line(msgspec.Struct, frozen=True, array_like=True):
    """The owner of a line. `is_first`: of the thread that wrote first, or of a subprocess."""

    fid: str
    attempt: int
    kind: Kind
    is_first: bool


class Unfinished:
    """The file of one runner. Each slot is written only under the lock of its line."""

    def __init__(self, directory: Path) -> None:
        self._map: mmap.mmap | None = None
        #: The slots that no line uses.
        self.free = list(range(1, _SLOTS))
        try:
            self._map = mapped_file(directory / _NAME, _SLOTS * _SLOT_BYTES)
        except OSError as exc:
            log.warning("unfinished lines are not kept in a file: %s", exc)

    def set_pipe_owner(self, fid: str, attempt: int) -> None:
        """Record whose output the pipes carry; an empty fid means nobody's."""
        owner_head = msgspec.json.encode(Line(fid, attempt, Kind.STDOUT, is_first=True))
        self.write_slot(0, owner_head + b"\n" if fid else b"")

    def release_slot(self, slot: int) -> None:
        """Empty a slot and free it."""
        self.write_slot(slot, b"")
        self.free.append(slot)

    def write_slot(self, slot: int, data: bytes) -> None:
        """Write data into a slot, cut to the slot's size."""
        if self._map is None:
            return
        at = slot * _SLOT_BYTES
        data = data[: _SLOT_BYTES - _SIZE.size]
        # If the process is killed in between, the slot is empty rather than half written.
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
        """Keep the part of a line that a thread has written; an empty text ends the line."""
        found = self._slots.get((kind, thread))
        if not text:
            if found is not None and thread is None:
                self._file.write_slot(found[0], b"")
            elif found is not None:  # else slots would run out, because threads come and go
                self._file.release_slot(self._slots.pop((kind, thread))[0])
            return
        if found is None:
            try:
                slot = self._file.free.pop()
            except IndexError:
                return  # all are used
            owner_head = Line(self._fid, self._attempt, kind, thread is None)
            found = self._slots[kind, thread] = slot, msgspec.json.encode(owner_head) + b"\n"
        masked = secrets.mask(text).encode("utf-8", "backslashreplace")
        self._file.write_slot(found[0], found[1] + masked)

    def close(self) -> None:
        """Free all slots."""
        while self._slots:
            self._file.release_slot(self._slots.popitem()[1][0])


def read(directory: Path) -> tuple[Line | None, list[tuple[Line, str]]]:
    """Return the owner of a dead process's pipes, and its unfinished lines."""
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
