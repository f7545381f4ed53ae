"""What the spool holds, in files as well: it survives its process, though not its node.

Files are mapped into memory. What stands in them when a process is killed is in the
kernel's hands, so writing costs no system call. A file has lines, up to its first NUL:
events, and between them whose they are. Once everything is acknowledged, which is most
of the time, the first file is begun again; so seldom more than a page is used.
"""

import contextlib
import logging
import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from koco.events.model import Status

log = logging.getLogger(__name__)

#: The size of a file (bytes); an event that is larger gets one of its own.
SEGMENT_BYTES = 512 * 1024
#: Files that are kept for later use.
_SPARE = 2
#: Pause before another try where no file could be made, as on a full disk (seconds).
_AGAIN_S = 10.0
#: What the names of the files begin with.
_PREFIX = "backlog."
#: The first byte of lines that are no events, which begin with a quote.
_WHOSE = b"\x01"
_ENDS = b"\x02"


class Writer(Protocol):
    """Whose lines they are: an outbox of the spool."""

    fid: str
    attempt: int
    producer: str
    #: What is not sent yet.
    lines: list[bytes]
    #: The number of the first of them.
    next: int
    #: The number of the last line that is acknowledged.
    acked: int


class _Whose(msgspec.Struct, frozen=True, array_like=True):
    """Before lines: what a batch says of them."""

    fid: str
    attempt: int
    producer: str
    first: int


@dataclass(slots=True, eq=False)
class _Segment:
    path: Path
    map: mmap.mmap
    #: The last number that each writer has in it.
    last: dict[Writer, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Have nothing in it."""
        used = self.map.tell()
        self.map.seek(0)
        self.map.write(bytes(used))
        self.map.seek(0)
        self.last.clear()

    def close(self) -> None:
        self.map.close()
        self.path.unlink(missing_ok=True)


class Backlog:
    """The files of one spool, which calls it with its lock held."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        #: In use; the last one is written.
        self._segments: list[_Segment] = []
        self._spare: list[_Segment] = []
        self._retry_at = 0.0
        #: Writes into the newest file; raises `ValueError` where that is full, or not there.
        self._write: Callable[[bytes], object] = _nowhere
        #: Whose lines the file has last, if what comes next from there needs no head.
        self._writer: Writer | None = None
        #: Who has written since the last head.
        self._named: Writer | None = None

    def add(self, writer: Writer, event: bytes) -> None:
        """Take a writer's next event: into its lines, and into the file."""
        if writer is not self._writer:
            self._put(_head(writer), writer)
        # A cancelled thread may raise anywhere: then it is said once more whose lines follow.
        self._writer = None
        writer.lines.append(event)
        try:
            self._write(event + b"\n")
        except ValueError:  # it is full, or there is none
            self._put(_head(writer, but=1) + event + b"\n", writer, anew=True)
        self._writer = writer

    def mark(self, writer: Writer, status: Status) -> None:
        """Keep the status with which the execution ends."""
        self._writer = None
        self._put(_head(writer) + _ENDS + status.encode() + b"\n", writer)
        if self._segments:
            # One more than its lines: the status has to be acknowledged as well.
            self._segments[-1].last[writer] = writer.next + len(writer.lines)
            self._named = None

    def clear(self) -> None:
        """Begin again: everything is acknowledged."""
        self._writer = self._named = None
        for segment in self._segments[:-1]:
            self._retire(segment)
        del self._segments[:-1]
        if self._segments:
            self._segments[-1].begin()

    def release(self) -> None:
        """Let go of files in which everything is acknowledged, but for the newest."""
        while len(self._segments) > 1:
            last = self._segments[0].last
            if any(writer.acked < number for writer, number in last.items()):
                return
            self._retire(self._segments.pop(0))

    def _put(self, data: bytes, writer: Writer, *, anew: bool = False) -> None:
        """Write what begins with a head, into another file if this one is full."""
        if self._named is not None and self._segments:
            named = self._named
            self._segments[-1].last[named] = named.next + len(named.lines) - 1
        self._named = writer
        if not anew:
            with contextlib.suppress(ValueError):
                self._write(data)
                return
        # One byte more: a NUL is the end.
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
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Room that is not there when it is written to would end the process (SIGBUS).
                os.posix_fallocate(fd, 0, size)
                mapped = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        except OSError as exc:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            if not self._retry_at:
                log.warning("what is not delivered yet is not kept in a file: %s", exc)
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


def _nowhere(_: bytes) -> None:
    raise ValueError("there is no file yet")


def _head(writer: Writer, *, but: int = 0) -> bytes:
    """Return what says whose lines follow: all of its lines are there, but for the last ones."""
    first = writer.next + len(writer.lines) - but
    whose = _Whose(writer.fid, writer.attempt, writer.producer, first)
    return _WHOSE + msgspec.json.encode(whose) + b"\n"


@dataclass(slots=True)
class Left:
    """What one attempt of an execution has left: lines by their numbers, and how it ended."""

    fid: str
    attempt: int
    producer: str
    lines: dict[int, bytes] = field(default_factory=dict)
    status: Status | None = None


def read(directory: Path) -> list[Left]:
    """Return what the backlog of a dead process holds."""
    found: dict[str, Left] = {}
    for path in directory.glob(f"{_PREFIX}*"):
        _read_lines(path.read_bytes().partition(b"\0")[0], found)
    return list(found.values())


def _read_lines(data: bytes, found: dict[str, Left]) -> None:
    left, number = None, 0
    # The last one has its newline, or was being written when the process ended.
    for line in data.split(b"\n")[:-1]:
        if line.startswith(_WHOSE):
            whose = msgspec.json.decode(line[1:], type=_Whose)
            fresh = Left(whose.fid, whose.attempt, whose.producer)
            left, number = found.setdefault(whose.producer, fresh), whose.first
        elif left is None:
            raise ValueError("there is no word of whose it is")
        elif line.startswith(_ENDS):
            left.status = Status(line[1:].decode())
        else:
            left.lines[number] = line
            number += 1
