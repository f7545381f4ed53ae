"""Threads that read in parallel to the event loop, each with a connection of its own.

They are for reads that may scan many rows. A statement of SQLite cannot be paused, so on the
loop's own connection every request would wait for it.
"""

import asyncio
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from koco.errors import TimedOutError
from koco.store.engine.sqlite.connection import Connection
from koco.store.engine.sqlite.writer import failure
from koco.store.errors import StoreError

T = TypeVar("T")

#: How many of SQLite's steps run between two checks of the time limit: about a millisecond.
_STEPS = 10_000


def look_at_once(db: Connection, look: Callable[[Connection], T]) -> T:
    """Return the result of a look whose statements all see the same state."""
    db.execute("BEGIN")
    try:
        return look(db)
    finally:
        db.execute("ROLLBACK")


class Readers:
    """A pool of connections, made by `connect` when they are needed.

    They are kept, because a new one first reads all tables' definitions.
    """

    def __init__(self, connect: Callable[[], Connection], *, threads: int) -> None:
        self._connect = connect
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="koco-read")
        self._own = threading.local()
        self._all: list[Connection] = []

    async def read(self, look: Callable[[Connection], T], *, most_s: float = math.inf) -> T:
        """Return the result of `look`, which sees every commit up to now.

        Raises:
            StoreError: it cannot be read.
            TimedOutError: it takes longer than `most_s`.
        """
        loop = asyncio.get_running_loop()
        try:
            looking = loop.run_in_executor(self._threads, self._look, look, most_s)
        except RuntimeError as exc:
            raise StoreError("the store is closed") from exc
        try:
            return await looking
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise TimedOutError(
                    f"this takes more than {most_s:g} s to find",
                    hint="longer words, fewer of them, or a flow or a time beside them",
                ) from exc
            raise failure(exc, "the store could not be read") from exc

    def _look(self, look: Callable[[Connection], T], most_s: float) -> T:
        db = self._connection()
        until_s = time.monotonic() + most_s
        if most_s < math.inf:
            db.set_progress_handler(lambda: time.monotonic() > until_s, _STEPS)
        try:
            return look_at_once(db, look)
        finally:
            db.set_progress_handler(None, 0)

    def close(self) -> None:
        """Wait for running reads; close the connections."""
        self._threads.shutdown()
        for db in self._all:
            db.close()

    def _connection(self) -> Connection:
        if (db := getattr(self._own, "db", None)) is None:
            db = self._own.db = self._connect()
            self._all.append(db)
        return db
