"""Connections that another thread can break."""

import os
import socket
from contextlib import suppress

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
