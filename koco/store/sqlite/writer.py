"""The one thread that writes: many callers' changes in one transaction.

A commit waits for the disk (`synchronous=FULL`: acknowledged means it survives a
power cut, too). While one is under way the next callers gather, and share the
next: no timer, so a lone change is written at once and a crowd pays for one
wait. Each change runs in a savepoint of its own, so that one that fails takes
no other with it.

Where the disk is full, what is new is refused, and the rest is written with the room
that is held for it: whoever cancels, revokes or deletes must not be told to come again.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from koco.errors import KocoError, NoRoomError

T = TypeVar("T")

Change = Callable[[sqlite3.Connection], Any]


class StoreError(KocoError):
    """The store could not write: the disk is full, say. Nothing of the change was kept."""

    http_status = 503
    code = "store"


#: What SQLite says where the disk takes no more; of a quota it says that writing failed.
_FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)


class _Waiting(NamedTuple):
    change: Change
    future: "asyncio.Future[Any]"
    #: Whether it is new and may be refused where the disk is full.
    grows: bool


class Writer:
    """Owns the writing connection; `submit` is called on the event loop only.

    `give_up` makes room on a full disk; it returns False where it has no more to give.
    """

    def __init__(
        self, db: sqlite3.Connection, *, give_up: Callable[[], bool] = lambda: False
    ) -> None:
        self._db = db
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="koco-store", daemon=True)
        self._thread.start()

    async def submit(self, change: Callable[[sqlite3.Connection], T], *, grows: bool = False) -> T:
        """Run a change in the next transaction; return its result once it is committed.

        Raises:
            NoRoomError: the disk is full, and it `grows`: it is not among what must be written.
            StoreError: it could not be committed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise StoreError("the store is closed")
            self._waiting.append(_Waiting(change, future, grows))
            self._wake.notify()
        return await future

    def close(self) -> None:
        """Commit what was submitted, then end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            results = self._commit(taken)
            futures = [each.future for each in taken]
            try:
                self._loop.call_soon_threadsafe(_deliver, futures, results)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell

    def _commit(self, taken: list[_Waiting]) -> list[Any]:
        try:
            return self._transaction(taken)
        except sqlite3.Error as exc:
            if not is_full(exc):
                return [failure(exc)] * len(taken)
            refused = _refused(exc)
        results = iter(self._commit_anyway([each for each in taken if not each.grows]))
        return [refused if each.grows else next(results) for each in taken]

    def _commit_anyway(self, taken: list[_Waiting]) -> list[Any]:
        """Commit what must be, with the room that is held for it."""
        while True:
            try:
                return self._transaction(taken)
            except sqlite3.Error as exc:
                if not (is_full(exc) and self._give_up()):
                    return [failure(exc)] * len(taken)
                # The log may be full because the file cannot grow: with the new room it can.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _transaction(self, taken: list[_Waiting]) -> list[Any]:
        if not taken:
            return []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [self._attempt(each.change) for each in taken]
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return results

    def _attempt(self, change: Change) -> Any:
        self._db.execute("SAVEPOINT change")
        try:
            result = change(self._db)
        except Exception as exc:
            if _is_of_disk(exc):
                raise  # not the change's: the whole transaction is lost
            result = exc
            self._db.execute("ROLLBACK TO change")
        self._db.execute("RELEASE change")
        return result


def is_full(exc: sqlite3.Error) -> bool:
    """Say whether SQLite has failed because the disk takes no more."""
    return getattr(exc, "sqlite_errorcode", None) in _FULL


def _refused(exc: sqlite3.Error) -> NoRoomError:
    error = NoRoomError(
        f"the control plane's disk is full: {exc}",
        hint="make room on the disk of its data directory, or delete executions (`koco delete`)",
    )
    error.__cause__ = exc
    return error


def _is_of_disk(exc: Exception) -> bool:
    # A text that is none is one row's, though it has the same class.
    return isinstance(exc, sqlite3.OperationalError) and "Could not decode" not in str(exc)


def failure(exc: sqlite3.Error, what: str = "the store could not be written") -> StoreError:
    """Return what SQLite could not do as an error of the store's."""
    error = StoreError(
        f"{what}: {exc}",
        hint="check that the data directory's disk has room and is writable",
    )
    error.__cause__ = exc
    return error


def _deliver(futures: list[asyncio.Future[Any]], results: list[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # its caller was cancelled; the change stands all the same
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
