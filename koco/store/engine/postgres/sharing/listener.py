"""A thread that hears what other processes of a shared store tell.

It waits for its socket. Its session is this process's entry among the members.
"""

import asyncio
import logging
import select
import threading
from collections.abc import Callable

import psycopg

from koco.store.engine.postgres.connection import Connection
from koco.store.engine.postgres.sharing import signals
from koco.store.engine.postgres.sharing.roster import Identity
from koco.store.engine.postgres.wires import Wire

log = logging.getLogger(__name__)

#: How long the server waits for this process to read its notifications (ms).
_UNREAD_MS = 60_000
#: How long two attempts to connect are apart (seconds).
_PAUSE_S = 0.2


class Listener:
    """Listen with a connection that `connect` makes, and with another one if it is lost.

    `hear` is called on the loop. If something may have been missed, it is told so.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        identity: Identity,
        hear: Callable[[signals.Heard], None],
        *,
        by: str,
    ) -> None:
        self._connect = connect
        self._identity = identity
        self._hear = hear
        self._by = by
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self._payloads: list[str] = []

    def open(self) -> None:
        """Listen from now on. Blocks.

        Raises:
            psycopg.Error: it cannot.
        """
        self._db, self._wire = self._listening()
        self._thread = threading.Thread(target=self._run, name="koco-listen", daemon=True)
        self._thread.start()

    def move(self) -> None:
        """Listen to the server that takes changes now."""
        self._wire.cut()

    def close(self) -> None:
        """Listen no longer."""
        self._closing.set()
        self._wire.cut()
        self._thread.join()

    def _listening(self) -> tuple[Connection, Wire]:
        db = self._connect()
        try:
            db.raw.add_notify_handler(lambda each: self._payloads.append(each.payload))
            # If this process stands still for long, its session must not: the server keeps what
            # it has not been told.
            db.raw.execute(f"SET tcp_user_timeout TO {_UNREAD_MS}; LISTEN {signals.CHANNEL}")
            self._identity.register(db)
            return db, Wire(db)
        except BaseException:
            db.close()
            raise

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except psycopg.Error as exc:
                self._db.close()
                if self._closing.is_set():
                    self._wire.close()
                    return
                log.warning("the connection that listens was lost: %s", exc)
            if not self._again():
                return

    def _again(self) -> bool:
        """Listen with another connection; False if it is closed instead."""
        self._wire.close()
        while not self._closing.is_set():
            try:
                self._db, self._wire = self._listening()
            except psycopg.Error:
                self._closing.wait(_PAUSE_S)
                continue
            if self._closing.is_set():
                self._wire.cut()  # `close` may have cut the former one
            self._tell(signals.missed())
            return True
        return False

    def _listen(self) -> None:
        """Pass on the notifications as they come.

        Raises:
            psycopg.Error: the connection was lost.
        """
        pg = self._db.raw.pgconn
        readable = select.poll()
        readable.register(pg.socket, select.POLLIN)
        while True:
            while (found := pg.notifies()) is not None:
                self._payloads.append(found.extra.decode())
            if self._payloads:
                payloads, self._payloads = self._payloads, []
                self._tell(signals.heard(payloads, self._by))
            else:
                readable.poll()
            # Again after each that brought something: an encrypted connection may hold more, which
            # the socket does not show.
            pg.consume_input()

    def _tell(self, heard: signals.Heard) -> None:
        if heard.news or heard.fids or heard.has_gap:
            try:
                self._loop.call_soon_threadsafe(self._hear, heard)
            except RuntimeError:
                self._closing.set()  # the loop is closed
