"""Room on the disk that only the store can use, for when others have filled it.

Two files have it. SQLite's log is kept at a length, so that commits need no more room
than they have; and a file of nothing is given up in pieces where that is not enough, as
when the store's own file must grow.
"""

import contextlib
import os
from pathlib import Path

#: In how many pieces all of it is given up: whoever filled the disk takes what is left of one.
_PIECES = 8

#: How long SQLite's log is made (bytes): twice what it has when its pages go into the file.
LOG_BYTES = 8 * 1024 * 1024
#: What it is cut to after a burst (bytes). Cutting more often would make each commit slower.
LONGEST_LOG_BYTES = 4 * LOG_BYTES


class Ballast:
    """The file at `path`, and the log at `log`. All methods block; any thread may call them."""

    def __init__(self, path: Path, *, log: Path) -> None:
        self._path = path
        self._log = log
        self._wanted_bytes = 0

    @property
    def missing_bytes(self) -> int:
        """How much of what it was to take was given up."""
        return max(0, self._wanted_bytes - _size(self._path))

    def hold(self, size_bytes: int) -> bool:
        """Take so much room, and that of the log; False where there is not so much."""
        self._wanted_bytes = size_bytes
        if not size_bytes:
            self.release()
            return True
        # Only as long as SQLite has it: what nobody has open would be taken for damaged.
        has_log = not self._log.exists() or _lengthen(self._log, LOG_BYTES)
        if _size(self._path) > size_bytes:
            os.truncate(self._path, size_bytes)
        return _lengthen(self._path, size_bytes) and has_log

    def give_up(self) -> bool:
        """Give up a piece of it; False where nothing is left."""
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
        """Give up all of it; the log is SQLite's."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lengthen(path: Path, size_bytes: int) -> bool:
    """Have a file take so much room at least; False where there is not so much."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        had = os.fstat(descriptor).st_size
        if had < size_bytes:
            # Blocks and not a mere size: those are what nobody else can have.
            os.posix_fallocate(descriptor, had, size_bytes - had)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
