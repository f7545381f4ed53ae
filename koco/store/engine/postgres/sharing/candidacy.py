"""Wait to lead a shared store, and take the lead from a process that stands still."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg

from koco.store.engine.postgres import failures
from koco.store.engine.postgres.connection import Connection
from koco.store.engine.postgres.rights import Leading
from koco.store.engine.postgres.sharing import roster
from koco.store.engine.postgres.wires import Wire

log = logging.getLogger(__name__)

#: A leader that has not renewed its claim for this long has lost it (seconds).
LEASE_S = 3.0
#: The longest and the shortest wait in the server's queue before the leader is looked at (seconds).
_LONGEST_S, _SHORTEST_S = 1.0, 0.05
#: How long two attempts to connect are apart (seconds).
_PAUSE_S = 0.1


class Candidacy:
    """A thread that waits, with a connection that `connect` makes."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        name: str,
        url: str,
        location: str,
        on_moved: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._name = name
        self._url = url
        self._location = location
        self._on_moved = on_moved
        self._cancelled = threading.Event()
        self._wire: Wire | None = None

    async def win(self) -> tuple[Connection, Leading]:
        """Return the connection that has the lead, and its right.

        Raises:
            ConflictError: a newer koco has migrated the tables.
            psycopg.Error: the server refuses.
        """
        loop = asyncio.get_running_loop()
        won: asyncio.Future[tuple[Connection, Leading]] = loop.create_future()

        def deliver(db: Connection, right: Leading) -> None:
            if won.done():
                db.close()
            else:
                won.set_result((db, right))

        def fail(exc: BaseException) -> None:
            if not won.done():
                won.set_exception(exc)

        def run() -> None:
            try:
                db, right = self._wait()
            except BaseException as exc:  # noqa: BLE001 - whoever waits gets it
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(fail, exc)
                return
            try:
                loop.call_soon_threadsafe(deliver, db, right)
            except RuntimeError:
                db.close()

        threading.Thread(target=run, name="koco-lead", daemon=True).start()
        try:
            return await won
        except asyncio.CancelledError:
            self._cancel()
            raise

    def _cancel(self) -> None:
        self._cancelled.set()
        if self._wire is not None:
            self._wire.cut()

    def _wait(self) -> tuple[Connection, Leading]:
        while True:
            try:
                db = self._connect()
                try:
                    return db, self._win(db)
                except BaseException:
                    db.close()
                    raise
                finally:
                    self._forget_wire()
            except psycopg.Error as exc:
                if self._cancelled.is_set() or not failures.is_of_connection(exc):
                    raise
                if failures.is_read_only(exc):
                    self._on_moved()  # the leader has left this server for another one
            self._cancelled.wait(_PAUSE_S)

    def _win(self, db: Connection) -> Leading:
        self._wire = Wire(db)
        right = Leading(self._location, 0, db.backend)
        right.rejoin(db)
        wait_s = _LONGEST_S
        while not roster.await_lead(db, wait_s):
            if self._cancelled.is_set():
                raise psycopg.OperationalError("cancelled")
            wait_s = self._look(db)
        right.epoch = roster.crown(db, self._name, self._url)
        log.info("leading %s in epoch %d", self._location, right.epoch)
        return right

    def _look(self, db: Connection) -> float:
        """End the session of a leader that stands still; return when to look again (seconds)."""
        found = roster.holder(db)
        if found is None:
            return _SHORTEST_S
        if found.idle_s <= LEASE_S:
            return min(_LONGEST_S, max(_SHORTEST_S, LEASE_S - found.idle_s + 0.01))
        if found.is_busy:
            return _SHORTEST_S  # the server keeps it waiting
        log.warning(
            "the leader of %s has done nothing for %.1f s: ending its session",
            self._location,
            found.idle_s,
        )
        roster.end(db, found, unread_s=LEASE_S)
        return _LONGEST_S

    def _forget_wire(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
