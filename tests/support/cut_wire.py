"""A connection to a server that is cut at a chosen moment."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 65536


class Wire:
    """Passes on bytes between clients and a server.

    `cut_at` is a text of clients: the connection that sends it is cut, before it reaches the
    server, or if `is_late` when the server has answered. Once, unless it is set again.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_at: bytes | None = None
        self.is_late = False
        self.cuts = 0
        #: Whether new connections are refused.
        self.is_down = False
        #: Whether nothing passes any more, although all connections stay.
        self.is_silent = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                cut = threading.Event()
                for which, (source, to) in enumerate(((client, server), (server, client))):
                    args = (source, to, which == 0, cut)
                    threading.Thread(target=self._pass_on, args=args, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, to: socket.socket, is_client: bool, cut: threading.Event
    ) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if is_client and self.cut_at is not None and self.cut_at in piece:
                    self.cut_at, self.cuts = None, self.cuts + 1
                    cut.set()
                    if not self.is_late:
                        break
                elif not is_client and cut.is_set():
                    break  # the answer to it
                while self.is_silent:
                    time.sleep(0.01)
                to.sendall(piece)
        for each in (source, to):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
