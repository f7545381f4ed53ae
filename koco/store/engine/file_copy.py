"""Make a copy of a store as a file, in a thread: a whole one, or none."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from koco.disk_sync import sync

T = TypeVar("T")

#: What SQLite may have left beside a file that it was writing, and the file itself.
_SUFFIXES = ("", "-wal", "-shm")


class _CancelledError(Exception):
    """The copy is no longer wanted."""


async def make(to: Path, fill: Callable[[Callable[..., None]], T]) -> T:
    """Make the new file `to`, with the mode 0600, have `fill` write it, and return its result.

    `fill` must call its argument from time to time: that raises if the caller was cancelled. If
    `fill` raises, no file is left.
    """
    stopped = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_make, to, fill, stopped))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait({work})
        raise


def _make(to: Path, fill: Callable[[Callable[..., None]], T], stopped: threading.Event) -> T:
    def go_on(*_: int) -> None:
        if stopped.is_set():
            raise _CancelledError

    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        found = fill(go_on)
        sync(to)
    except BaseException:
        for suffix in _SUFFIXES:
            to.with_name(f"{to.name}{suffix}").unlink(missing_ok=True)
        raise
    return found
