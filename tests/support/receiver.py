"""A receiver of webhooks on this machine."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.support.http_server import QuietServer


@dataclass
class Message:
    """A message as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Check the signature, with the code of somebody else."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """What a receiver has got, and how it answers: the next answers, then always 204."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    #: Called before each answer.
    meanwhile: Callable[[], Any] = lambda: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int, *, seconds: float = 10) -> list[Message]:
        """Return the messages once there are so many."""
        until = time.monotonic() + seconds
        with self.changed:
            while len(self.messages) < count:
                left = until - time.monotonic()
                assert left > 0, f"{len(self.messages)} of {count} messages came"
                self.changed.wait(left)
            return list(self.messages)

    def wait_for(self, is_it: Callable[[Any], bool]) -> list[Message]:
        """Return the messages once one of them has such content, however many come before."""
        told = self.wait(1)
        while not any(is_it(each.content) for each in told):
            told = self.wait(len(told) + 1)
        return told


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver while the block runs."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.meanwhile()
            with found.changed:
                status, more = found.answers.pop(0) if found.answers else (204, {})
                found.messages.append(Message(self.path, headers, body))
                found.changed.notify_all()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()

    server = QuietServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
