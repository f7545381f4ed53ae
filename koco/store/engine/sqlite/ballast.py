"""Disk space reserved for the store, for the time when the disk is full.

It is kept in two files. SQLite's log keeps its length, so commits need no further room. A ballast
file is given up in pieces if that is not enough, for example if the store's own file must grow.
"""

import contextlib
import os
from pathlib import Path

#: The ballast is given up in this many pieces, because another program may take the rest of a
#: piece.
_PIECES = 8

#: The length of SQLite's log (bytes): twice its size when SQLite moves its pages into the file.
LOG_BYTES = 8 * 1024 * 1024
#: The log is cut to this after a burst (bytes). Cutting more often would make each commit slower.
LONGEST_LOG_BYTES = 4 * LOG_BYTES


class Ballast:
    """The ballast file at `path`, and the log at `log`. All methods block. Any thread may call
    them.
    """

    def __init__(self, path: Path, *, log: Path) -> None:
        self._path = path
        self._log = log
        self._wanted_bytes = 0

    @property
    def missing_bytes(self) -> int:
        """How much of the reserve was given up."""
        return max(0, self._wanted_bytes - _size(self._path))

    def hold(self, size_bytes: int) -> bool:
        """Reserve the given room and that of the log; False if the disk has too little."""
        self._wanted_bytes = size_bytes
        if not size_bytes:
            self.release()
            return True
        # Only while SQLite has the log open: otherwise the longer log would be taken for damaged.
        has_log = not self._log.exists() or _lengthen(self._log, LOG_BYTES)
        if _size(self._path) > size_bytes:
            os.truncate(self._path, size_bytes)
        return _lengthen(self._path, size_bytes) and has_log

    def give_up(self) -> bool:
        """Give up a piece of the reserve; False if nothing is left."""
        held = _size(self._path)
        if not held:
            return False
        piece = max(self._wanted_bytes, held) // _PIECES + 1
        try:
            os.truncate(self._path, max(0, held - piece))
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Give up all of the reserve. The log stays, because it is SQLite's."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lengthen(path: Path, size_bytes: int) -> bool:
    """Make a file at least this large on the disk; False if there is too little room."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        had = os.fstat(descriptor).st_size
        if had < size_bytes:
            # Allocate blocks instead of a sparse size, because only blocks are reserved.
            os.posix_fallocate(descriptor, had, size_bytes - had)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
