"""Read files that may be in the middle of a save: wait for the writer, a few times.

A program that saves a file empties it first, or removes it for a moment. Without the wait, an empty
module might be deployed.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO

#: A file written more recently than this (seconds) may still be in the middle of a write. An
#: emptied file gets the longer time, because a busy disk may take that long before the write.
MOMENT_S, EMPTY_S = 0.05, 0.5

#: The total number of waits, and the number kept in reserve for the worse case: an empty or missing
#: file. A file with content may be written without end, as a log is.
MOMENTS, _KEPT = 8, 5


class Patience:
    """Waits for files that are being written, a few times in total."""

    def __init__(self) -> None:
        self._left = MOMENTS

    def wait(self, *, kept: int = 0) -> bool:
        """Wait a moment. Return False at once if the waits are used up: the file counts as it is.

        `kept` is the number of waits to leave in reserve.
        """
        if self._left <= kept:
            return False
        self._left -= 1
        time.sleep(MOMENT_S)
        return True


def is_fresh(status: os.stat_result, *, since: float | None = None) -> bool:
    """Return whether a file or folder was written just now, or since a time (of `time.time`)."""
    now = time.time()
    moment_s = MOMENT_S if status.st_size else EMPTY_S
    return (now if since is None else since) - moment_s < status.st_mtime <= now


def opened(path: Path, patience: Patience | None = None) -> BinaryIO:
    """Open a file for reading after it has not been written for a moment; raises `OSError`.

    With `patience`, several files share the waits.
    """
    patience = patience or Patience()
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            if not patience.wait():
                raise
            continue
        status = os.fstat(file.fileno())
        if not is_fresh(status) or not patience.wait(kept=_KEPT if status.st_size else 0):
            return file
        file.close()
