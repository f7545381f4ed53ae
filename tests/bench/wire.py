"""The smallest HTTP client: one socket, one write a request, nothing parsed without need.

httpx takes a millisecond of its own for a request, a quarter of what a launch may
take. What the command line pays for it is measured with the command line.
"""

import json
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

#: For who does not ask for one: the request is to be as large.
ANY_KEY = "koco_as_long_as_a_key_is_so_that_the_request_is_as_large"


class AnswerError(RuntimeError):
    """An answer that is no success. `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Wire:
    """A connection that is kept open. One request at a time."""

    def __init__(self, url: str, key: str = "", *, timeout_s: float = 120.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = f"Host: {parts.netloc}\r\n"
        if key:
            self._head += f"Authorization: Bearer {key}\r\n"
        self._timeout_s = timeout_s
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection((self._host, self._port), self._timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", 512 * 1024)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a stream that is being read ends."""
        self._file.close()
        self._socket.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request; return the answer's JSON.

        Raises:
            AnswerError: the answer is no success; it holds what was said.
        """
        content = json.dumps(body).encode() if body is not None else b""
        return json.loads(self.request(method, path, content))

    def request(
        self, method: str, path: str, content: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> bytes:
        """Make a request; return the answer's body.

        Raises:
            AnswerError: the answer is no success; it holds what was said.
        """
        status, told = self._ask(method, path, content, headers)
        if told.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        elif method == "HEAD":
            body = b""
        else:
            body = self._file.read(int(told.get("content-length", "0")))
        if status >= 300:
            told_why = body.decode(errors="replace")
            raise AnswerError(f"{method} {path}: {status} {told_why}", status)
        return body

    def stream(self, path: str) -> Iterator[bytes]:
        """Make a request; yield the answer in the pieces in which the server wrote it."""
        status, headers = self._ask("GET", path, b"")
        if status != 200 or headers.get("transfer-encoding") != "chunked":
            raise RuntimeError(f"GET {path}: {status}")
        yield from self._chunks()

    def _ask(
        self, method: str, path: str, content: bytes, more: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str]]:
        length = f"Content-Length: {len(content)}\r\n" if content or method != "GET" else ""
        length += "".join(f"{name}: {value}\r\n" for name, value in (more or {}).items())
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{length}\r\n"
        status = self._sent(head.encode() + content)
        if not status:
            # The server closes connections that were idle for some seconds.
            self.close()
            self._connect()
            status = self._sent(head.encode() + content)
        if not status:
            raise ConnectionError("the server closed the connection")
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip().lower()
        return int(status.split()[1]), headers

    def _sent(self, request: bytes) -> bytes:
        try:
            self._socket.sendall(request)
            return self._file.readline()
        except (BrokenPipeError, ConnectionResetError):
            return b""

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._file.readline()
            if not line:
                raise ConnectionError("the stream broke")
            size = int(line, 16)
            piece = self._file.read(size)
            self._file.readline()
            if not size:
                return
            yield piece
