"""A site on this machine, for URLs of users."""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import QuietServer

CONTENT = b"report" * 300_000


class Site:
    """A site with what a test puts there."""

    def __init__(self) -> None:
        self.url = ""
        #: By path: a status, headers, and a body.
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.heard: list[tuple[str, dict[str, str]]] = []
        #: Paths whose answer is raw bytes, sent again and again without an end.
        self.endless: dict[str, tuple[bytes, bytes]] = {}
        #: How long each piece of a body takes (seconds).
        self.slowness_s = 0.0


@contextlib.contextmanager
def serving_files() -> Iterator[Site]:
    """Serve a site for as long as the block runs."""
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            found.heard.append((self.path, dict(self.headers)))
            if self.path in found.endless:
                first, then = found.endless[self.path]
                with contextlib.suppress(OSError):
                    self.wfile.write(first)
                    while True:
                        self.wfile.write(then)
                return
            status, headers, body = found.pages.get(self.path.partition("?")[0], (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                for at in range(0, len(body), 65536):
                    time.sleep(found.slowness_s)
                    self.wfile.write(body[at : at + 65536])

    server = QuietServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
