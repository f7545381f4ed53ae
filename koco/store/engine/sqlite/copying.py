"""Copy a database into a file while others read and write it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from koco.store.engine import file_copy
from koco.store.engine.sqlite.connection import Connection
from koco.store.engine.sqlite.writer import failure

T = TypeVar("T")

#: How many pages are copied between two looks at whether it was cancelled: 4 MB.
_PAGES = 1000


async def copy(connect: Callable[[], Connection], to: Path, look: Callable[[Connection], T]) -> T:
    """Copy the database that `connect` opens, and return the result of a look at the same state.

    Raises:
        StoreError: it could not be copied. No file is left.
    """

    def fill(go_on: Callable[..., None]) -> T:
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
        return found

    try:
        return await file_copy.make(to, fill)
    except sqlite3.Error as exc:
        raise failure(exc, "the store could not be copied") from exc
