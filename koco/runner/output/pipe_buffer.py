"""Keep data from a pipe in a file until it has become events.

A process may be killed after it has read from a pipe and before it has used the data. So the
kernel moves the data into a file (splice), and the process reads it from there: at every moment
the data is in one of the two.
"""

import mmap
import os
from collections.abc import Container
from pathlib import Path

#: The files' names begin with this; the number of the descriptor follows.
PREFIX = "taken."
#: The size of the head (bytes). Its numbers are: up to which offset the file has become events;
#: an event of the attempt, if one is being added to the backlog; the offset once that is there.
_HEAD = 4096
_DONE, _EVENT, _NEXT = range(3)


def mapped_file(path: Path, size: int) -> mmap.mmap:
    """Make a file of a size and map it into memory. Raises `OSError` if there is no room."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Writing to a page that the disk has no room for would kill the process (SIGBUS).
        os.posix_fallocate(fd, 0, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


class PipeFile:
    """The file for one descriptor. One pipe at a time is moved into it."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Make the file. Raises `OSError` if the file cannot be made."""
        if not hasattr(os, "splice"):
            raise OSError("this system cannot move what is in a pipe")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory / f"{PREFIX}{fd}", flags, 0o600)
        os.posix_fallocate(self._file, 0, _HEAD)
        self._head = memoryview(mmap.mmap(self._file, _HEAD)).cast("Q")
        #: The offset of the last read.
        self.begin = self._at = self._head[_DONE] = _HEAD

    def read(self, pipe: int, size: int) -> bytes:
        """Return the data in a pipe without waiting; empty at its end.

        Raises:
            BlockingIOError: there is no data yet.
            OSError: the disk is full.
        """
        moved = os.splice(pipe, self._file, size, offset_dst=self._at, flags=os.SPLICE_F_NONBLOCK)
        data = os.pread(self._file, moved, self._at)
        self.begin = self._at
        self._at += moved
        return data

    def announce(self, event: int, offset: int) -> None:
        """Record that this event of the attempt, once it is in the backlog, has the data so far."""
        self._head[_NEXT] = offset
        self._head[_EVENT] = event

    def mark_done(self, offset: int) -> None:
        """Record that the data before an offset is kept elsewhere."""
        self._head[_DONE] = offset
        self._head[_EVENT] = 0

    @property
    def done(self) -> int:
        """The offset up to which the data is kept elsewhere."""
        return self._head[_DONE]

    @property
    def is_done(self) -> bool:
        """Whether all of its data is kept elsewhere."""
        return self._head[_DONE] == self._at

    def clear(self) -> None:
        """Empty the file, because its data is not needed any more. It may contain secrets."""
        # In this order: a position at the end means that nothing is left.
        self.mark_done(self._at)
        os.ftruncate(self._file, _HEAD)
        self._at = self._head[_DONE] = _HEAD


def read(directory: Path, fd: int, events: Container[int] = (), *, kept: int = 0) -> bytes:
    """Return the data that a dead process had moved out of the pipe and not used.

    `events` are the numbers of the events in the backlog. Data before the offset `kept` is
    elsewhere.
    """
    try:
        data = (directory / f"{PREFIX}{fd}").read_bytes()
    except OSError:
        return b""
    if len(data) <= _HEAD:
        return b""
    head = memoryview(data)[:_HEAD].cast("Q")
    return data[max(head[_NEXT] if head[_EVENT] in events else head[_DONE], kept) :]
