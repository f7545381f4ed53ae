"""The spool's contents in files, so that they survive their process (but not their node).

The files are mapped into memory. If a process is killed, the kernel still has everything that was
written to them, so writing costs no system call. A file consists of lines, up to its first NUL:
events, and before them a line that says whose they are. Once everything is acknowledged, which is
most of the time, the first file is reused from its start; so more than a page is rarely used.
"""

import contextlib
import logging
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from koco.events.model import Status
from koco.runner.output.pipe_buffer import mapped_file

log = logging.getLogger(__name__)

#: The size of a file (bytes); a larger event gets its own file.
SEGMENT_BYTES = 512 * 1024
#: How many files are kept for later use.
_SPARE = 2
#: Pause before the next try if no file could be made, for example on a full disk (seconds).
_AGAIN_S = 10.0
#: The files' names begin with this.
_PREFIX = "backlog."
#: The first byte of lines that are not events. (Events begin with a quote.)
_OWNER = b"\x01"
_ENDS = b"\x02"


class Writer(Protocol):
    """The owner of lines: an outbox of the spool."""

    fid: str
    attempt: int
    producer: str
    #: The lines that are not sent yet.
    lines: list[bytes]
    #: The number of the first unsent line.
    next: int
    #: The number of the last acknowledged line.
    acked: int


class _Owner(msgspec.Struct, frozen=True, array_like=True):
    """A line that says whose lines follow it, with the fields that a batch has."""

    fid: str
    attempt: int
    producer: str
    first: int


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    map: mmap.mmap
    #: The number of each writer's last line in this file.
    last: dict[Writer, int] = field(default_factory=dict)

    def begin(self) -> None:
        used = self.map.tell()
        self.map.seek(0)
        self.map.write(bytes(used))
        self.map.seek(0)
        self.last.clear()

    def close(self) -> None:
        self.map.close()
        self.path.unlink(missing_ok=True)


class Backlog:
    """The files of one spool. The spool calls this class only while it holds its lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        #: The files in use; the last one is being written.
        self._segments: list[_Segment] = []
        self._spare: list[_Segment] = []
        self._retry_at = 0.0
        #: Writes into the newest file; raises `ValueError` if that is full or does not exist.
        self._write: Callable[[bytes], object] = _fail_to_write
        #: The owner of the file's last lines, if its next line can follow without a head.
        self._writer: Writer | None = None
        #: The writer that the last head names.
        self._last_owner: Writer | None = None

    def add(self, writer: Writer, event: bytes) -> None:
        """Add a writer's next event to its lines and to the file."""
        if writer is not self._writer:
            self._put(_head(writer), writer)
        # A cancelled thread may raise anywhere. If it does, the next line gets a new head.
        self._writer = None
        writer.lines.append(event)
        try:
            self._write(event + b"\n")
        except ValueError:  # the file is full or does not exist
            self._put(_head(writer, but=1) + event + b"\n", writer, anew=True)
        self._writer = writer

    def mark(self, writer: Writer, status: Status) -> None:
        """Write the status with which the execution ends."""
        self._writer = None
        self._put(_head(writer) + _ENDS + status.encode() + b"\n", writer)
        if self._segments:
            # One more than its lines, because the status has to be acknowledged as well.
            self._segments[-1].last[writer] = writer.next + len(writer.lines)
            self._last_owner = None

    def clear(self) -> None:
        """Empty the files, because everything is acknowledged."""
        self._writer = self._last_owner = None
        for segment in self._segments[:-1]:
            self._retire(segment)
        del self._segments[:-1]
        if self._segments:
            self._segments[-1].begin()

    def release(self) -> None:
        """Let go of the files in which everything is acknowledged, except the newest."""
        while len(self._segments) > 1:
            last = self._segments[0].last
            if any(writer.acked < number for writer, number in last.items()):
                return
            self._retire(self._segments.pop(0))

    def _put(self, data: bytes, writer: Writer, *, anew: bool = False) -> None:
        """Write data that begins with a head, into another file if this one is full."""
        if self._last_owner is not None and self._segments:
            named = self._last_owner
            self._segments[-1].last[named] = named.next + len(named.lines) - 1
        self._last_owner = writer
        if not anew:
            with contextlib.suppress(ValueError):
                self._write(data)
                return
        # One byte more, because a NUL marks the end.
        needed = len(data) + 1
        segment = self._spare.pop() if self._spare and needed <= SEGMENT_BYTES else None
        segment = segment or self._new(max(SEGMENT_BYTES, needed))
        if segment is not None:
            self._segments.append(segment)
            self._write = segment.map.write
            self._write(data)

    def _new(self, size: int) -> _Segment | None:
        if (now := time.monotonic()) < self._retry_at:
            return None
        path = self._directory / f"{_PREFIX}{self._made}"
        try:
            mapped = mapped_file(path, size)
        except OSError as exc:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            if not self._retry_at:
                log.warning("undelivered events are not backed up in a file: %s", exc)
            self._retry_at = now + _AGAIN_S
            return None
        self._made += 1
        return _Segment(path, mapped)

    def _retire(self, segment: _Segment) -> None:
        if segment.map.size() == SEGMENT_BYTES and len(self._spare) < _SPARE:
            segment.begin()
            self._spare.append(segment)
        else:
            segment.close()


def _fail_to_write(_: bytes) -> None:
    raise ValueError("there is no file yet")


def _head(writer: Writer, *, but: int = 0) -> bytes:
    """Return the head of the lines that follow: its last `but` lines come after the head."""
    first = writer.next + len(writer.lines) - but
    owner = _Owner(writer.fid, writer.attempt, writer.producer, first)
    return _OWNER + msgspec.json.encode(owner) + b"\n"


@dataclass(slots=True)
class Leftover:
    """The leftovers of one attempt of an execution: lines by number, and how the attempt ended."""

    fid: str
    attempt: int
    producer: str
    lines: dict[int, bytes] = field(default_factory=dict)
    status: Status | None = None


def read(directory: Path) -> list[Leftover]:
    """Read the backlog of a dead process."""
    found: dict[str, Leftover] = {}
    for path in directory.glob(f"{_PREFIX}*"):
        _read_lines(path.read_bytes().partition(b"\0")[0], found)
    return list(found.values())


def _read_lines(data: bytes, found: dict[str, Leftover]) -> None:
    leftover, number = None, 0
    # If the last line has no newline, the process ended while it was being written.
    for line in data.split(b"\n")[:-1]:
        if line.startswith(_OWNER):
            owner = msgspec.json.decode(line[1:], type=_Owner)
            fresh = Leftover(owner.fid, owner.attempt, owner.producer)
            leftover, number = found.setdefault(owner.producer, fresh), owner.first
        elif leftover is None:
            raise ValueError("the backlog does not say whose its first lines are")
        elif line.startswith(_ENDS):
            leftover.status = Status(line[1:].decode())
        else:
            leftover.lines[number] = line
            number += 1
