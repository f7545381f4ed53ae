"""Make files, and the names in folders, outlive a crash of the machine."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once a file's content or a folder's names are on the disk.

    A file that was made or renamed is durable only if its folder is.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
