"""A leader's claim: the session that has its lock, in threads that do nothing else.

So it is renewed however busy the event loop is, and whatever keeps the writing connection waiting.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg

from koco.store.engine.postgres import failures, rights
from koco.store.engine.postgres.connection import Connection
from koco.store.engine.postgres.rights import Leading
from koco.store.engine.postgres.sharing import roster
from koco.store.engine.postgres.sharing.reign import Reign
from koco.store.engine.postgres.wires import Lasting

log = logging.getLogger(__name__)

#: How long two attempts to connect are apart (seconds).
_PAUSE_S = 0.1


class Claim:
    """Renews the claim by the connection that won it, and by others that `connect` makes.

    `look` returns the epoch of the latest leader by another connection.
    `on_lost` is called once, in another thread, when another process leads, or may. `on_moved` is
    called when another server takes changes, because the former one takes none any more.
    """

    def __init__(
        self,
        db: Connection,
        right: Leading,
        *,
        connect: Callable[[], Connection],
        look: Callable[[], Awaitable[int]],
        location: str,
        on_lost: Callable[[], None],
        on_moved: Callable[[], None],
    ) -> None:
        self._right = right
        self._lasting = Lasting(connect, renew=right.take_again, on_moved=on_moved)
        self._look = look
        self._location = location
        self._on_lost = on_lost
        #: When it last noticed that no server answers (monotonic), and so nobody else has one.
        self._down_at = 0.0
        self._closing = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._lasting.keep(db)
        self._thread = threading.Thread(target=self._run, name="koco-reign", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the lock back, so that another process may lead at once."""
        self._end()
        self._stop()
        self._thread.join()

    def _end(self) -> None:
        """End what waits for the server."""
        self._closing.set()
        self._lasting.cut()

    def _run(self) -> None:
        asyncio.run(self._last())
        self._lasting.drop()

    async def _last(self) -> None:
        """Return once the claim is lost, or this is closed."""
        loop = asyncio.get_running_loop()
        renewing = ThreadPoolExecutor(1, thread_name_prefix="koco-reign")
        reign = Reign(
            self._right.epoch,
            renew=lambda: loop.run_in_executor(renewing, self._renew),
            look=self._look,
            down_at=lambda: self._down_at,
        )
        lasting = asyncio.ensure_future(reign.last())

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lasting.cancel)

        self._stop = stop
        if self._closing.is_set():
            lasting.cancel()
        try:
            await lasting
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("the claim to lead cannot be renewed")
        if not self._closing.is_set():
            self._on_lost()
            self._end()
        renewing.shutdown()

    def _renew(self) -> None:
        """Renew the claim, by another connection if this one is lost.

        Raises:
            DeposedError: another process leads.
            psycopg.Error: the server refuses.
        """
        while not self._closing.is_set():
            try:
                if not roster.renew(self._connected(), self._right.epoch):
                    raise rights.deposed(self._location)
            except psycopg.Error as exc:
                self._lasting.drop()
                if not failures.is_of_connection(exc):
                    raise
                self._note_lost(exc)
            else:
                return
            self._closing.wait(_PAUSE_S)

    def _connected(self) -> Connection:
        db = self._lasting.connected()
        if self._closing.is_set():
            self._lasting.cut()  # `_end` may have cut the former one
        return db

    def _note_lost(self, exc: psycopg.Error) -> None:
        self._lasting.note_lost(exc)
        if failures.is_down(exc):
            self._down_at = time.monotonic()
        elif not self._closing.is_set():
            log.warning("the connection that has the lead was lost: %s", exc)
