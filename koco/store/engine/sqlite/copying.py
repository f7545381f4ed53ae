"""Copy a database into a file while others read and write it."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from koco.disk_sync import sync
from koco.store.engine.sqlite.connection import Connection
from koco.store.engine.sqlite.writer import failure

T = TypeVar("T")

#: How many pages are copied between two looks at whether it was cancelled: 4 MB.
_PAGES = 1000


class _CancelledError(Exception):
    """The copy is no longer wanted."""


async def copy(connect: Callable[[], Connection], to: Path, look: Callable[[Connection], T]) -> T:
    """Copy the database that `connect` opens, and return the result of a look at the same state.

    Raises:
        StoreError: it could not be copied. No file is left.
    """
    stopped = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(_copy, connect, to, look, stopped))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait({work})
        raise


def _copy(
    connect: Callable[[], Connection],
    to: Path,
    look: Callable[[Connection], T],
    stopped: threading.Event,
) -> T:
    def go_on(*_: int) -> None:
        if stopped.is_set():
            raise _CancelledError

    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(connect()) as source, closing(sqlite3.connect(to)) as target:
            # The copy is of this transaction. Without it, each commit by others would make SQLite
            # begin anew.
            source.execute("BEGIN")
            found = look(source)
            source.backup(target, pages=_PAGES, progress=go_on, sleep=0)
            source.execute("ROLLBACK")
            # As one file: a reader of the copy then makes no log beside it.
            target.execute("PRAGMA journal_mode = DELETE")
            target.execute("PRAGMA wal_checkpoint")
        sync(to)
    except BaseException as exc:
        to.unlink(missing_ok=True)
        if isinstance(exc, sqlite3.Error):
            raise failure(exc, "the store could not be copied") from exc
        raise
    return found
