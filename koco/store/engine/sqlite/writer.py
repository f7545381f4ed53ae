"""The one thread that writes: many callers' changes in one transaction.

A commit waits for the disk (`synchronous=FULL`: an acknowledged change survives even a power cut).
Changes that arrive during a commit share the next one. There is no timer, so a lone change is
written at once, and many changes share one wait. Each change runs in a savepoint of its own, so
that a failing one does not affect the others.

If the disk is full, new data is refused, and the rest is written into the reserved room: a
cancellation, revocation or deletion must not be postponed.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from koco.errors import NoRoomError
from koco.store.engine.sqlite import damage
from koco.store.engine.sqlite.connection import Connection
from koco.store.errors import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")

Change = Callable[[Connection], Any]


#: SQLite's errors on a full disk. If a quota is exceeded, it reports a failed write.
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
    #: Whether it adds data, and so may be refused if the disk is full.
    grows: bool


class Writer:
    """Own the writing connection. Call `submit` on the event loop only.

    `give_up` makes room on a full disk. It returns False if it has no more to give. `on_news` is
    called on the loop with what the committed changes tell.
    """

    def __init__(
        self,
        db: Connection,
        *,
        give_up: Callable[[], bool] = lambda: False,
        on_news: Callable[[list[Any]], None] = lambda news: None,
    ) -> None:
        self._db = db
        self._give_up = give_up
        self._on_news = on_news
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="koco-store", daemon=True)
        self._thread.start()

    async def submit(self, change: Callable[[Connection], T], *, grows: bool = False) -> T:
        """Run a change in the next transaction; return its result once it is committed.

        Raises:
            NoRoomError: the disk is full, and the change `grows`.
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
        """Commit pending changes, then end the thread."""
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
            news, self._db.news = self._db.news, []
            try:
                if news:
                    self._loop.call_soon_threadsafe(self._tell, news)
                self._loop.call_soon_threadsafe(_deliver, futures, results)
            except RuntimeError:
                return  # the loop is closed, so no caller is waiting

    def _tell(self, news: list[Any]) -> None:
        try:
            self._on_news(news)
        except Exception:
            # The changes are committed, whatever becomes of the news.
            log.exception("the news of the store were not handled")

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

    def _transaction(self, taken: list[_Waiting]) -> list[Any]:
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


def _deliver(futures: list[asyncio.Future[Any]], results: list[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # its caller was cancelled, but the change stands
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
