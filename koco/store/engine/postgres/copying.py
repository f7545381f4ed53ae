"""Copy a database into a file of SQLite, as backups have it, while others read and write it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import psycopg

from koco.store.engine import file_copy, rows
from koco.store.engine.postgres import failures
from koco.store.engine.postgres.connection import Connection
from koco.store.engine.sqlite import schema
from koco.store.engine.sqlite.connection import connect as connect_to_file
from koco.store.errors import StoreError

T = TypeVar("T")

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WHAT = "the store could not be copied"


async def copy(
    connect: Callable[[], Connection], to: Path, look: Callable[[Connection], T], *, location: str
) -> T:
    """Copy the database that `connect` opens, and return the result of a look at the same state.

    Raises:
        StoreError: it could not be copied. No file is left.
    """

    def fill(go_on: Callable[..., None]) -> T:
        with closing(connect()) as source, closing(connect_to_file(to)) as target:
            schema.migrate(target)
            # Nobody else knows the file yet, and it is deleted if this fails.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            source.begin(_SNAPSHOT)
            found = look(source)
            target.execute("BEGIN")
            rows.copy_all(source, target, go_on)
            target.execute("COMMIT")
            target.execute("PRAGMA journal_mode = DELETE")
        return found

    try:
        return await file_copy.make(to, fill)
    except psycopg.Error as exc:
        raise failures.translate(exc, location, what=_WHAT) from exc
    except sqlite3.Error as exc:
        raise StoreError(f"{_WHAT}: {to}: {exc}", hint="check that its disk has room") from exc
