"""Files that somebody may be saving just now: they are waited for, a few times.

Who saves a file empties it first, or has it away for a moment. Read then, a module would be
deployed that is empty.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO

#: What was written this short a time ago (seconds), somebody may still be writing.
MOMENT_S = 0.05

#: How often such a moment is waited for.
MOMENTS = 5


class Patience:
    """Waits for files that are being written, a few times in all."""

    def __init__(self) -> None:
        self._left = MOMENTS

    def wait(self) -> bool:
        """Wait a moment; False, at once, when that was often enough: what is there counts."""
        if not self._left:
            return False
        self._left -= 1
        time.sleep(MOMENT_S)
        return True


def is_fresh(status: os.stat_result, *, since: float | None = None) -> bool:
    """Say whether a file or folder was written just now, or since a time (of `time.time`)."""
    now = time.time()
    return (now if since is None else since) - MOMENT_S < status.st_mtime <= now


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
        if not is_fresh(os.fstat(file.fileno())) or not patience.wait():
            return file
        file.close()
