"""The one thread that writes: many callers' changes in one transaction.

A commit waits for the disk (`synchronous=FULL`: acknowledged means it survives a
power cut, too). While one is under way the next callers gather, and share the
next: no timer, so a lone change is written at once and a crowd pays for one
wait. Each change runs in a savepoint of its own, so that one that fails takes
no other with it.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from koco.errors import KocoError

T = TypeVar("T")

Change = Callable[[sqlite3.Connection], Any]


class StoreError(KocoError):
    """The store could not write: the disk is full, say. Nothing of the change was kept."""

    http_status = 503
    code = "store"


class Writer:
    """Owns the writing connection; `submit` is called on the event loop only."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Change, asyncio.Future[Any]]] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="koco-store", daemon=True)
        self._thread.start()

    async def submit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change in the next transaction; return its result once it is committed.

        Raises:
            StoreError: it could not be committed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise StoreError("the store is closed")
            self._waiting.append((change, future))
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
            results = self._commit([change for change, _ in taken])
            futures = [future for _, future in taken]
            try:
                self._loop.call_soon_threadsafe(_deliver, futures, results)
            except RuntimeError:
                return  # the loop is closed: nobody is left to tell

    def _commit(self, changes: list[Change]) -> list[Any]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [self._attempt(change) for change in changes]
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return [failure(exc, "the store could not be written")] * len(changes)
        return results

    def _attempt(self, change: Change) -> Any:
        self._db.execute("SAVEPOINT change")
        try:
            result = change(self._db)
        except sqlite3.OperationalError:
            raise  # the disk, not the change: the whole transaction is lost
        except Exception as exc:  # noqa: BLE001 - handed to the one who asked
            result = exc
            self._db.execute("ROLLBACK TO change")
        self._db.execute("RELEASE change")
        return result


def failure(exc: sqlite3.Error, what: str) -> StoreError:
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
