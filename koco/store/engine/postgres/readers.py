"""Threads that read, each with a connection of its own.

There are as many connections as threads, so a pool of them would hold the same number, and be
slower: see docs/architecture.md. One that is lost is replaced by the thread that needs it.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from psycopg import errors

from koco.errors import TimedOutError
from koco.store.engine.postgres import failures
from koco.store.engine.postgres.connection import Connection
from koco.store.errors import StoreError

T = TypeVar("T")

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: How long a read waits for a server that is started again, and how long between two attempts
#: (seconds).
_PATIENCE_S, _PAUSE_S = 10.0, 0.1


class Readers:
    """A few threads and their connections, which `connect` makes when they are needed."""

    def __init__(self, connect: Callable[[], Connection], *, threads: int, location: str) -> None:
        self._connect = connect
        self._location = location
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="koco-read")
        self._own = threading.local()
        self._all: list[Connection] = []
        self._closing = False
        #: How often the server was another one. Connections of an earlier one are replaced.
        self._moves = 0

    async def read(
        self,
        look: Callable[[Connection], T],
        *,
        snapshot: bool = True,
        most_s: float = math.inf,
    ) -> T:
        """Return the result of `look`, which sees every commit up to now.

        With `snapshot`, all its statements see the same state.

        Raises:
            StoreError: it cannot be read.
            TimedOutError: a statement takes longer than `most_s`.
        """
        loop = asyncio.get_running_loop()
        try:
            looking = loop.run_in_executor(self._threads, self._look, look, snapshot, most_s)
        except RuntimeError as exc:
            raise StoreError("the store is closed") from exc
        try:
            return await looking
        except errors.QueryCanceled as exc:
            raise TimedOutError(
                f"this takes more than {most_s:g} s to find",
                hint="longer words, fewer of them, or a flow or a time beside them",
            ) from exc
        except psycopg.Error as exc:
            what = "the store could not be read"
            raise failures.translate(exc, self._location, what=what) from exc

    def move(self) -> None:
        """Read with new connections from now on: another server takes the changes."""
        self._moves += 1

    def close(self) -> None:
        """Wait for running reads; close the connections."""
        self._closing = True
        self._threads.shutdown()
        for db in self._all:
            db.close()

    def _look(self, look: Callable[[Connection], T], snapshot: bool, most_s: float) -> T:
        """Look, and again with a new connection if this one is lost: it changes nothing."""
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return _look(self._connection(), look, snapshot, most_s)
            except psycopg.Error as exc:
                if not failures.is_of_connection(exc):
                    raise
                self._drop()
                if self._closing or time.monotonic() > until_s:
                    raise
            time.sleep(_PAUSE_S)

    def _connection(self) -> Connection:
        if (moves := self._moves) != getattr(self._own, "moves", 0):
            self._drop()
            self._own.moves = moves
        db: Connection | None = getattr(self._own, "db", None)
        if db is None:
            db = self._own.db = self._connect()
            self._all.append(db)
        return db

    def _drop(self) -> None:
        db: Connection | None = getattr(self._own, "db", None)
        if db is not None:
            self._own.db = None
            self._all.remove(db)
            db.close()


def _look(db: Connection, look: Callable[[Connection], T], snapshot: bool, most_s: float) -> T:
    is_limited = most_s < math.inf
    if snapshot or is_limited:
        limit = f"; SET LOCAL statement_timeout TO {int(most_s * 1000)}" if is_limited else ""
        db.begin(f"{_SNAPSHOT}{limit}")
    try:
        return look(db)
    finally:
        if not db.is_lost:
            db.end()
