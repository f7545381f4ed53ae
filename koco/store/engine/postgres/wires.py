"""Connections that another thread can break, and that are made anew."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress

import psycopg

from koco.store.engine.postgres import failures
from koco.store.engine.postgres.connection import Connection


class Wire:
    """The socket of a connection, for threads other than the one that uses it."""

    def __init__(self, db: Connection) -> None:
        # A descriptor of its own, because the connection's number may be another file's one day.
        self._socket = socket.socket(fileno=os.dup(db.raw.fileno()))

    def cut(self) -> None:
        """Break the connection: whoever waits for the server gets an error at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the descriptor. The connection stays."""
        self._socket.close()


class Lasting:
    """A connection that is made anew by `connect` once it is lost.

    `renew` is called with each new one, to take the locks again. `on_moved` is called when another
    server takes changes, because the former one takes none any more. Only `cut` is for other
    threads than the one that uses the connection.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        renew: Callable[[Connection], object],
        on_moved: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._renew = renew
        self._on_moved = on_moved
        self._is_moving = False
        self._wire: Wire | None = None
        #: The connection, or None if it was lost.
        self.db: Connection | None = None

    def keep(self, db: Connection) -> None:
        """Use this connection until it is lost."""
        self.db, self._wire = db, Wire(db)

    def connected(self) -> Connection:
        """Return the connection, or a new one with the locks if it was lost."""
        if self.db is not None:
            return self.db
        db = self._connect()
        try:
            self._renew(db)
        except BaseException:
            db.close()
            raise
        self.keep(db)
        if self._is_moving:
            self._is_moving = False
            self._on_moved()
        return db

    def note_lost(self, cause: psycopg.Error) -> None:
        """Note why it was lost, in case that the server takes no changes any more."""
        self._is_moving = self._is_moving or failures.is_read_only(cause)

    def cut(self) -> None:
        """Break the connection: whoever waits for the server gets an error at once."""
        if (wire := self._wire) is not None:
            wire.cut()

    def drop(self) -> None:
        """Close the connection."""
        if self.db is not None:
            self.db.close()
            self.db = None
        if (wire := self._wire) is not None:
            self._wire = None
            wire.close()
