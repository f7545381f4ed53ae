"""The connection that writes: changes in transactions, each in a savepoint of its own.

A commit waits for the disk (`synchronous=FULL`: an acknowledged change survives even a power cut).
A change that fails does not affect the others of its transaction.

If the disk is full, new data is refused, and the rest is written into the reserved room: a
cancellation, revocation or deletion must not be postponed.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

from koco.errors import NoRoomError
from koco.store.engine.group_commit import Change, Committed, Waiting
from koco.store.engine.sqlite import damage
from koco.store.engine.sqlite.connection import Connection
from koco.store.errors import StoreError

#: SQLite's errors on a full disk. If a quota is exceeded, it reports a failed write.
_FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)


class Writer:
    """Own the writing connection.

    `give_up` makes room on a full disk. It returns False if it has no more to give.
    """

    def __init__(self, db: Connection, *, give_up: Callable[[], bool] = lambda: False) -> None:
        self._db = db
        self._give_up = give_up

    def commit(self, taken: list[Waiting]) -> Committed:
        """Commit changes in one transaction; return what became of each."""
        results = self._commit(taken)
        news, self._db.news = self._db.news, []
        self._db.touched.clear()  # there is no other process to hear of them
        return Committed(results, news)

    def _commit(self, taken: list[Waiting]) -> list[Any]:
        try:
            return self._transaction(taken)
        except sqlite3.Error as exc:
            if not is_full(exc):
                return [failure(exc)] * len(taken)
            refused = _refused(exc)
        results = iter(self._commit_anyway([each for each in taken if not each.grows]))
        return [refused if each.grows else next(results) for each in taken]

    def _commit_anyway(self, taken: list[Waiting]) -> list[Any]:
        """Commit the changes that must succeed, in the reserved room."""
        while True:
            try:
                return self._transaction(taken)
            except sqlite3.Error as exc:
                if not (is_full(exc) and self._give_up()):
                    return [failure(exc)] * len(taken)
                # The log may be full because the file cannot grow. With the new room it can.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _transaction(self, taken: list[Waiting]) -> list[Any]:
        if not taken:
            return []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [self._attempt(each.change) for each in taken]
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._db.news.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return results

    def _attempt(self, change: Change) -> Any:
        self._db.execute("SAVEPOINT change")
        told = len(self._db.news)
        try:
            result = change(self._db)
        except Exception as exc:
            if _is_of_disk(exc):
                raise  # the error is not the change's own: the whole transaction is lost
            result = exc
            del self._db.news[told:]
            self._db.execute("ROLLBACK TO change")
        self._db.execute("RELEASE change")
        return result


def is_full(exc: sqlite3.Error) -> bool:
    """Whether SQLite failed because the disk is full."""
    return getattr(exc, "sqlite_errorcode", None) in _FULL


def _refused(exc: sqlite3.Error) -> NoRoomError:
    error = NoRoomError(
        f"the control plane's disk is full: {exc}",
        hint="make room on the disk of its data directory, or delete executions (`koco delete`)",
    )
    error.__cause__ = exc
    return error


def _is_of_disk(exc: Exception) -> bool:
    # An invalid text concerns only one row, though its error has the same class.
    return isinstance(exc, sqlite3.OperationalError) and damage.NOT_UTF8 not in str(exc)


def failure(exc: sqlite3.Error, what: str = "the store could not be written") -> StoreError:
    """Return SQLite's error as a `StoreError`."""
    error = StoreError(
        f"{what}: {exc}",
        hint="check that the data directory's disk has room and is writable",
    )
    error.__cause__ = exc
    return error
