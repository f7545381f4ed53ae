"""Limit the size of a server's answers, and the time they take, as they arrive.

Every byte of an answer passes through a `_Stream`, including its head and its chunk sizes. So no
server can cost more memory or time than the limits here, whatever the request.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpcore

from koco.client.memory_budget import Room, TooLargeError
from koco.errors import UnreachableError
from koco.sizes import format_size

if TYPE_CHECKING:
    import ssl

    import httpx

#: The minimum average rate of an answer after its grace period (bytes per second).
SLOWEST = 1024

#: The largest line of a stream (bytes): an event of 64 MB and the JSON around it.
LINE_BYTES = 66 << 20

_STRANGE = "does that URL belong to something else?"
_PLAIN = "does a proxy compress its answers? It must pass on `identity`"


class Pace:
    """The time that an answer may take: `grace_s`, and more with each byte that arrives.

    The clock starts with the first read, because the request is still being sent until then.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._ends: float | None = None

    def restart(self) -> None:
        """Start a new period, because a complete piece has arrived."""
        self._ends = time.monotonic() + self._grace_s

    def left_s(self) -> float:
        """Return how long the next byte may take (seconds); 0 or less if the time is up."""
        if self._ends is None:
            self.restart()
        assert self._ends is not None
        return self._ends - time.monotonic()

    def arrived(self, count: int) -> None:
        """Count bytes that have arrived."""
        if self._ends is not None:
            self._ends += count / SLOWEST


class _Heads(threading.local):
    """The pace of the answer whose head this thread waits for."""

    pace: Pace | None = None


_heads = _Heads()


class _Stream(httpcore.NetworkStream):
    """A connection whose reads keep to a pace: that of the body, or that of the awaited head.

    The bytes of a head do not extend its time, because no useful head is long.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self.pace: Pace | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        pace = self.pace or _heads.pace
        if pace is None:
            return self._stream.read(max_bytes, timeout)
        left_s = pace.left_s()
        if left_s <= 0:
            raise httpcore.ReadTimeout("it comes too slowly")
        data = self._stream.read(max_bytes, left_s if timeout is None else min(timeout, left_s))
        if self.pace is not None:
            pace.arrived(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: "ssl.SSLContext",
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Makes each connection a `_Stream`."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_tcp(*args, **options))

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(*args, **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def guard(client: "httpx.Client") -> None:
    """Make a new client's connections keep to the pace of its requests."""
    # httpx restarts its timeouts with each byte, and has no public way to set a backend.
    for transport in (client._transport, *client._mounts.values()):
        if pool := getattr(transport, "_pool", None):
            pool._network_backend = _Backend(pool._network_backend)


@contextmanager
def send(
    client: "httpx.Client", request: "httpx.Request", pace: Pace
) -> Iterator["httpx.Response"]:
    """Send a request and give its answer, with the body still to be read, at the given pace."""
    former, _heads.pace = _heads.pace, pace
    try:
        response = client.send(request, stream=True)
    finally:
        _heads.pace = former
    connection: Any = response.extensions["network_stream"]
    connection.pace = pace
    pace.restart()
    try:
        yield response
    finally:
        response.close()
        connection.pace = None  # the connection may be reused


def whole(response: "httpx.Response", room: Room) -> bytearray:
    """Return the body of an answer.

    Raises:
        TooLargeError: there is no room for it, or it is compressed although that was not requested.
    """
    require_plain(response)
    held = bytearray()
    for piece in response.iter_raw():
        held += piece
        room.take_text(len(piece))
    return held


def require_plain(response: "httpx.Response") -> None:
    """Raise `TooLargeError` for a compressed answer: a kilobyte of it may become a gigabyte."""
    coding = response.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        raise TooLargeError(f"{coding[:40]!r}, which was not requested", _PLAIN)


def lines(pieces: Iterable[bytes], pace: Pace) -> Iterator[list[bytes]]:
    """Yield complete lines that are not blank.

    The pace restarts with each piece that ends a line.

    Raises:
        TooLargeError: a line has no end.
        UnreachableError: the last line is incomplete.
    """
    begun = bytearray()
    for piece in pieces:
        end = piece.rfind(b"\n")
        if len(begun) + (end if end >= 0 else len(piece)) > LINE_BYTES:
            raise TooLargeError(f"a line of more than {format_size(LINE_BYTES)}", _STRANGE)
        if end < 0:
            begun += piece
            continue
        # Joined once per line end, because repeated joining makes a line of many megabytes slow.
        begun += piece[:end]
        text, begun = bytes(begun), bytearray(piece[end + 1 :])
        pace.restart()
        yield [line for line in text.split(b"\n") if line]
    if begun:
        raise UnreachableError("the answer ends in the middle of a line")
