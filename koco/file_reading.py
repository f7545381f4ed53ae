"""Files that somebody may be saving just now: they are waited for, a few times.

Who saves a file empties it first, or has it away for a moment. Read then, a module would be
deployed that is empty.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO

#: What was written this short a time ago (seconds), somebody may still be writing; and what was
#: emptied, as a busy disk may take so long over that before anything can be written.
MOMENT_S, EMPTY_S = 0.05, 0.5

#: How often such a moment is waited for, and how many of those are kept for the worse: a file
#: that is empty or away. One with something in it may be written without end, as a log is.
MOMENTS, _KEPT = 8, 5


class Patience:
    """Waits for files that are being written, a few times in all."""

    def __init__(self) -> None:
        self._left = MOMENTS

    def wait(self, *, kept: int = 0) -> bool:
        """Wait a moment; False, at once, when that was often enough: what is there counts.

        `kept` is how many moments are not to be used up.
        """
        if self._left <= kept:
            return False
        self._left -= 1
        time.sleep(MOMENT_S)
        return True


def is_fresh(status: os.stat_result, *, since: float | None = None) -> bool:
    """Say whether a file or folder was written just now, or since a time (of `time.time`)."""
    now = time.time()
    moment_s = MOMENT_S if status.st_size else EMPTY_S
    return (now if since is None else since) - moment_s < status.st_mtime <= now


def opened(path: Path, patience: Patience | None = None) -> BinaryIO:
    """Open a file to read it when nobody has written it for a moment; raises `OSError`.

    With `patience`, several files share how long they are waited for.
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
