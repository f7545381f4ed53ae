"""Keep unfinished lines in a file, so that they survive the process: `print("50 %", end="")`.

Like the backlog, this is a file that is mapped into memory. It consists of slots. A slot holds
one thread's line of one kind and is overwritten as the line grows. The first slot instead names
the execution that has the runner's pipes at 1 and 2.

The process may be killed at any moment, and then each line must be in one place only. So before a
line is added to the backlog, its slot says: what follows counts if that event is in the backlog.
"""

import logging
import mmap
import struct
from collections.abc import Callable, Container
from pathlib import Path

import msgspec

from koco.events.model import Kind
from koco.runner.output.pipe_buffer import PipeFile, mapped_file
from koco.sdk.process import secrets

log = logging.getLogger(__name__)

_NAME = "unfinished"
_SLOTS = 64
#: A slot is a number (0 or 1) that says which of its two records counts, and the records.
_SLOT_BYTES = 8192
#: The size of a record (bytes), and its numbers: an event after which the other record counts;
#: up to which offset the data of the pipe is in this record; the size of its data.
_RECORD_BYTES = 4088
_HEAD = struct.Struct("QQQ")
#: How much data fits: who owns the line, and its text.
_DATA_BYTES = _RECORD_BYTES - _HEAD.size


class Line(msgspec.Struct, frozen=True, array_like=True):
    """The owner of a line. `is_first`: of the thread that wrote first, or of a subprocess."""

    fid: str
    attempt: int
    kind: Kind
    is_first: bool


class Unfinished:
    """The file of one runner. Each slot is written only under the lock of its line."""

    def __init__(self, directory: Path) -> None:
        self.map: mmap.mmap | bytearray
        try:
            self.map = mapped_file(directory / _NAME, _SLOTS * _SLOT_BYTES)
        except OSError as exc:
            log.warning("unfinished lines are not kept in a file: %s", exc)
            self.map = bytearray(_SLOTS * _SLOT_BYTES)
        #: Its numbers. They are written in one step, which `struct` does not promise.
        self.numbers = memoryview(self.map).cast("Q")
        self._owner = Slot(self, 0)
        #: The slots that no line uses.
        self.free = [Slot(self, number) for number in range(1, _SLOTS)]

    def set_pipe_owner(self, fid: str, attempt: int) -> None:
        """Record whose output the pipes carry; an empty fid means nobody's."""
        owner_head = msgspec.json.encode(Line(fid, attempt, Kind.STDOUT, is_first=True))
        self._owner.write(owner_head + b"\n" if fid else b"")


class Slot:
    """The place of one line in the file."""

    __slots__ = ("_at", "_file", "_next_is_empty", "_used", "head", "is_empty")

    def __init__(self, file: Unfinished, number: int) -> None:
        self._file = file
        self._at = number * _SLOT_BYTES
        #: Which record counts.
        self._used = 0
        self.is_empty = self._next_is_empty = True
        #: The beginning of its data, which says whose the line is.
        self.head = b""

    def write(self, data: bytes, offset: int = 0) -> None:
        """Replace the data; `offset` says up to where the data of the pipe is in it."""
        self.stage(data, offset)
        self.settle()

    def stage(self, data: bytes, offset: int = 0) -> None:
        """Write data that does not count yet, cut to the slot's size."""
        data = data[:_DATA_BYTES]
        at = self._record(1 - self._used)
        self._file.map[at : at + _HEAD.size + len(data)] = _HEAD.pack(0, offset, len(data)) + data
        self._next_is_empty = not data

    def announce(self, event: int) -> None:
        """Let the staged data count as soon as this event of the attempt is in the backlog."""
        self._file.numbers[self._record(self._used) // 8] = event

    def settle(self) -> None:
        """Let the staged data count."""
        self._used = 1 - self._used
        self._file.numbers[self._at // 8] = self._used
        self.is_empty = self._next_is_empty

    def forget_offset(self) -> None:
        """Take the offset back, because the file of the pipe has it."""
        self._file.numbers[self._record(self._used) // 8 + 1] = 0

    def _record(self, number: int) -> int:
        return self._at + 8 + number * _RECORD_BYTES


class Kept:
    """Where the unsent part of one line is: in a slot, and what follows in the file of a pipe.

    The spool calls `announce` before it adds the event to the backlog, and `settle` after it.
    """

    __slots__ = ("_is_staged", "_offset", "_pipe", "slot")

    def __init__(self, slot: Slot | None = None) -> None:
        self.slot = slot
        self._pipe: PipeFile | None = None
        self._offset = 0
        self._is_staged = False

    @property
    def is_used(self) -> bool:
        """Whether any of the line is there."""
        return self._pipe is not None or (self.slot is not None and not self.slot.is_empty)

    def set_pipe(self, pipe: PipeFile, offset: int) -> None:
        """Say up to which offset the file of a pipe belongs to the line."""
        self._pipe, self._offset = pipe, offset

    def keep(self, text: str) -> None:
        """Move the line into the slot. If the slot is too small, it stays in the file of a pipe."""
        pipe, slot, offset = self._pipe, self.slot, 0
        if slot is not None and (text or not slot.is_empty):
            data = slot.head + _encode(text)
            if pipe is not None:
                if len(data) > _DATA_BYTES:
                    return
                offset = self._offset
            slot.write(data, offset)
        if pipe is not None:
            pipe.mark_done(self._offset)
            self._pipe = None
            if offset and slot is not None:
                slot.forget_offset()

    def stage(self, left: str) -> None:
        """Prepare that an event has the line, apart from the text that is left."""
        if self.slot is not None:
            data = self.slot.head + _encode(left) if left else b""
            self.slot.stage(data if len(data) <= _DATA_BYTES else b"")
        self._is_staged = True

    def announce(self, event: int) -> None:
        """Record the number of the event of the attempt."""
        if self.slot is not None:
            self.slot.announce(event)
        if self._pipe is not None:
            self._pipe.announce(event, self._offset)

    def settle(self) -> None:
        """Record that the event has the line. Does nothing if this was recorded."""
        if not self._is_staged:
            return
        self._is_staged = False
        if self.slot is not None:
            self.slot.settle()
        if self._pipe is not None:
            self._pipe.mark_done(self._offset)
            self._pipe = None


def _encode(text: str) -> bytes:
    return secrets.mask(text).encode("utf-8", "backslashreplace")


class Lines:
    """The unfinished lines of one attempt."""

    def __init__(self, file: Unfinished, fid: str, attempt: int) -> None:
        self._file = file
        self._fid = fid
        self._attempt = attempt
        self._slots: set[Slot] = set()

    def begin(self, kind: Kind, *, is_first: bool) -> Kept:
        """Return the place of a thread's lines of a kind. `is_first`: see `Line`."""
        try:
            slot = self._file.free.pop()
        except IndexError:
            return Kept()  # all are used
        self._slots.add(slot)
        slot.head = msgspec.json.encode(Line(self._fid, self._attempt, kind, is_first)) + b"\n"
        return Kept(slot)

    def release(self, kept: Kept) -> None:
        """Free a place, because threads come and go."""
        if kept.slot is not None:
            self._slots.discard(kept.slot)
            self._free(kept.slot)
            kept.slot = None

    def close(self) -> None:
        """Free all places."""
        while self._slots:
            self._free(self._slots.pop())

    def _free(self, slot: Slot) -> None:
        if not slot.is_empty:
            slot.write(b"")
        self._file.free.append(slot)


class Found(msgspec.Struct, frozen=True):
    """A dead process's unfinished line; the data of the pipe before the offset is in it."""

    line: Line
    text: str
    offset: int


def read(
    directory: Path, events: Callable[[Line], Container[int]] = lambda _: ()
) -> tuple[Line | None, list[Found]]:
    """Return the owner of a dead process's pipes, and its unfinished lines.

    `events` returns the numbers of the events in the backlog of the same attempt.
    """
    try:
        data = (directory / _NAME).read_bytes()
    except OSError:
        return None, []
    found: list[Found] = []
    owner: Line | None = None
    for at in range(0, len(data), _SLOT_BYTES):
        used = data[at]
        event, line, text, offset = _read_record(data, at, used)
        if event:
            _, other, other_text, other_offset = _read_record(data, at, 1 - used)
            # Either may be empty: the line may end with the event, or begin after it.
            if (whose := line or other) is not None and event in events(whose):
                line, text, offset = other, other_text, other_offset
        if line is None:
            continue
        if at == 0:
            owner = line
        else:
            found.append(Found(line, text, offset))
    return owner, found


def _read_record(data: bytes, at: int, number: int) -> tuple[int, Line | None, str, int]:
    at += 8 + number * _RECORD_BYTES
    event, offset, size = _HEAD.unpack_from(data, at)
    head, _, text = data[at + _HEAD.size : at + _HEAD.size + size].partition(b"\n")
    line = msgspec.json.decode(head, type=Line) if head else None
    return event, line, text.decode("utf-8", "ignore"), offset
