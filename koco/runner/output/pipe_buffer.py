"""Keep data from a pipe in a file until it has become events.

A process may be killed after it has read from a pipe and before it has used the data. So the
kernel moves the data into a file (splice), and the process reads it from there: at every moment
the data is in one of the two.
"""

import mmap
import os
from pathlib import Path

#: The files' names begin with this; the number of the descriptor follows.
PREFIX = "taken."
#: The size of the head, which says up to which offset the file has become events (bytes).
_HEAD = 4096


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
        self._done = memoryview(mmap.mmap(self._file, _HEAD)).cast("Q")
        self._begin = self._at = self._done[0] = _HEAD

    def read(self, pipe: int, size: int) -> bytes:
        """Return the data in a pipe without waiting; empty at its end.

        Raises:
            BlockingIOError: there is no data yet.
            OSError: the disk is full.
        """
        moved = os.splice(pipe, self._file, size, offset_dst=self._at, flags=os.SPLICE_F_NONBLOCK)
        data = os.pread(self._file, moved, self._at)
        self._begin = self._at
        self._at += moved
        return data

    def mark_done(self, size: int) -> None:
        """Record that this many bytes of the last read are kept elsewhere."""
        self._done[0] = self._begin + size

    def clear(self) -> None:
        """Empty the file, because all of its data is kept elsewhere. It may contain secrets."""
        # In this order: a position at the end means that nothing is left.
        self._done[0] = self._at
        os.ftruncate(self._file, _HEAD)
        self._at = self._done[0] = _HEAD


def read(directory: Path, fd: int) -> bytes:
    """Return the data that a dead process had moved out of the pipe and not used."""
    try:
        data = (directory / f"{PREFIX}{fd}").read_bytes()
    except OSError:
        return b""
    return data[int.from_bytes(data[:8], "little") :] if len(data) > _HEAD else b""
