"""What was taken out of a pipe and is no event yet: in a file, without a moment in between.

A process may be killed after it has read from a pipe and before it has done anything with that.
So the kernel moves it into a file (splice), and it is read from there.
"""

import mmap
import os
from pathlib import Path

#: What the names of the files begin with; the number of the descriptor follows.
PREFIX = "taken."
#: Before the content: up to where that has become events (an offset in the file).
_HEAD = 4096


class Taken:
    """The file of one descriptor, which one pipe at a time is moved into."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Make the file.

        Raises:
            OSError: it cannot be made.
        """
        if not hasattr(os, "splice"):
            raise OSError("this system cannot move what is in a pipe")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory / f"{PREFIX}{fd}", flags, 0o600)
        os.posix_fallocate(self._file, 0, _HEAD)
        self._done = memoryview(mmap.mmap(self._file, _HEAD)).cast("Q")
        self._begin = self._at = self._done[0] = _HEAD

    def read(self, pipe: int, size: int) -> bytes:
        """Return what is in a pipe, without waiting; nothing at its end.

        Raises:
            BlockingIOError: there is nothing yet.
            OSError: the disk is full.
        """
        moved = os.splice(pipe, self._file, size, offset_dst=self._at, flags=os.SPLICE_F_NONBLOCK)
        data = os.pread(self._file, moved, self._at)
        self._begin = self._at
        self._at += moved
        return data

    def done(self, size: int) -> None:
        """Hear that so much of what was read last (bytes) is somewhere else."""
        self._done[0] = self._begin + size

    def finish(self) -> None:
        """Hear that all of it is: nothing stays here, for there are secrets in it."""
        # In this order: a place behind the end means that nothing is left.
        self._done[0] = self._at
        os.ftruncate(self._file, _HEAD)
        self._at = self._done[0] = _HEAD


def read(directory: Path, fd: int) -> bytes:
    """Return what a dead process had taken and done nothing with."""
    try:
        data = (directory / f"{PREFIX}{fd}").read_bytes()
    except OSError:
        return b""
    return data[int.from_bytes(data[:8], "little") :] if len(data) > _HEAD else b""
