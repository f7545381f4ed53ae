"""One connection: a request goes out, a head and a body come in.

The server is not trusted. Heads, chunk sizes and trailers have a limit, each read keeps to the pace
of its answer, and what two readers might understand differently is refused.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping

from koco.client.http.failures import BrokenError, RequestError, SilenceError
from koco.client.http.pace import Pace

#: The largest head of an answer, and the largest trailers (bytes).
_HEAD_BYTES = 100 << 10
#: The longest line with the size of a chunk (bytes).
_SIZE_LINE_BYTES = 4 << 10
#: How much is read at once (bytes).
_READ_BYTES = 64 << 10
#: How long a connection stays usable without a request (seconds): servers close it soon after.
_IDLE_S = 5.0


class Headers(dict[str, str]):
    """The headers of an answer; names are case-insensitive."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return a header, or the default."""
        return super().get(name.lower(), default)


class Head:
    """The status and the headers of an answer."""

    def __init__(self, text: bytes) -> None:
        first, *lines = text.split(b"\r\n")
        version, _, rest = first.partition(b" ")
        code = rest[:3]
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or len(code) < 3:
            raise BrokenError("the answer is not HTTP")
        self.status = int(code)
        self.reason = rest[4:].decode("latin-1")
        self.headers = Headers()
        for line in lines:
            self._add(line)
        options = (self.headers.get("Connection") or "").lower().replace(" ", "").split(",")
        self.may_stay = version == b"HTTP/1.1" and "close" not in options

    def _add(self, line: bytes) -> None:
        name, colon, text = line.partition(b":")
        # White space before the colon, or a line that continues another, is read in two ways.
        if not colon or name.split() != [name]:
            raise BrokenError("the answer has a header that is not valid")
        key, value = name.decode("latin-1").lower(), text.strip().decode("latin-1")
        former = self.headers.get(key)
        if former is None:
            self.headers[key] = value
        elif key != "content-length":
            self.headers[key] = f"{former}, {value}"
        elif former != value:
            raise BrokenError("the answer has two lengths")


class Connection:
    """A connection, which serves one request at a time."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._held = bytearray()
        self._idle_since = 0.0
        self._pace = Pace(0.0)
        self._counts = False
        self._process = os.getpid()
        #: Whether it can take another request.
        self.is_free = False

    def close(self) -> None:
        """Close it; a thread that reads it gets an error."""
        # After a fork, the other process still uses it.
        if self._process == os.getpid():
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()

    def rest(self) -> None:
        """Note the time at which it becomes idle."""
        self._idle_since = time.monotonic()

    def is_usable(self) -> bool:
        """Return whether another request can be sent: the server has not closed it meanwhile."""
        if time.monotonic() > self._idle_since + _IDLE_S:
            return False
        try:
            poll = select.poll()
            poll.register(self._link, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def send(self, head: bytes, body: "bytes | Iterator[bytes] | None", timeout_s: float) -> bool:
        """Send a request; return whether all of it was sent. Pieces are sent as they are given.

        A server may answer before it has read the body, and close the connection.
        """
        self.is_free = False
        try:
            self._link.settimeout(timeout_s)
            self._write(head + body if isinstance(body, bytes) else head)
            for piece in () if body is None or isinstance(body, bytes) else body:
                self._write(piece)
        except TimeoutError as exc:
            raise SilenceError("the request is not read") from exc
        except OSError:
            return False
        return True

    def _write(self, data: bytes) -> None:
        # Not `sendall`, whose timeout is for all of it: a slow line may take long.
        left = memoryview(data)
        while left:
            left = left[self._link.send(left) :]

    def head(self, pace: Pace) -> Head:
        """Return the head of the answer, at a pace."""
        self._pace, self._counts = pace, False
        while True:
            head = Head(self._until(b"\r\n\r\n", _HEAD_BYTES))
            if head.status >= 200:
                break
        pace.restart()
        self._counts = True
        return head

    def body(self, head: Head, *, is_empty: bool) -> Iterator[bytes]:
        """Yield the body of the answer as it arrives; `is_free` after all of it, if that is so."""
        coding, length = head.headers.get("Transfer-Encoding"), head.headers.get("Content-Length")
        if is_empty or head.status in (204, 304):
            pass
        elif coding is not None:
            if coding.strip().lower() != "chunked":
                raise BrokenError(f"the answer has the transfer encoding {coding[:40]!r}")
            yield from self._chunks()
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                raise BrokenError(f"the answer has the length {length[:40]!r}")
            yield from self._exactly(int(length))
        else:
            yield from self._rest()
            return
        self.is_free = head.may_stay and not self._held and not (coding and length)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._until(b"\r\n", _SIZE_LINE_BYTES)
            digits = line.partition(b";")[0].strip()
            try:
                size = int(digits, 16) if digits.isalnum() and len(digits) <= 15 else -1
            except ValueError:
                size = -1
            if size < 0:
                raise BrokenError("the answer has a chunk without a valid size")
            if not size:
                break
            yield from self._exactly(size)
            if self._until(b"\r\n", 2):
                raise BrokenError("the answer has a chunk that is longer than its size")
        room = _HEAD_BYTES
        while line := self._until(b"\r\n", room):  # trailers
            room -= len(line)

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._held and not self._more():
                raise BrokenError("the server ended the answer before it was complete")
            piece = bytes(self._held[:size])
            del self._held[:size]
            size -= len(piece)
            yield piece

    def _rest(self) -> Iterator[bytes]:
        while self._held or self._more():
            piece = bytes(self._held)
            self._held.clear()
            yield piece

    def _until(self, end: bytes, most: int) -> bytes:
        """Return what comes before `end`, of at most that many bytes."""
        start = 0
        while (at := self._held.find(end, start)) < 0:
            if len(self._held) > most:
                break
            start = max(0, len(self._held) - len(end) + 1)
            if not self._more():
                what = "before it was complete" if self._held or self._counts else "without any"
                raise BrokenError(f"the server ended the answer {what}")
        if not 0 <= at <= most:
            raise BrokenError("the answer has a head, or the size of a chunk, that has no end")
        found = bytes(self._held[:at])
        del self._held[: at + len(end)]
        return found

    def _more(self) -> bool:
        """Read what is there; return False if the server has ended the connection."""
        while True:
            patience_s = self._pace.patience_s()
            if patience_s <= 0:
                raise SilenceError("it comes too slowly")
            try:
                self._link.settimeout(patience_s)
                data = self._link.recv(_READ_BYTES)
                break
            except TimeoutError as exc:
                if not self._pace.goes_on():
                    raise SilenceError("nothing comes") from exc
            except OSError as exc:
                raise BrokenError(str(exc) or type(exc).__name__) from exc
        if self._counts:
            self._pace.arrived(len(data))
        self._held += data
        return bool(data)


def write_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request.

    Raises:
        RequestError: a header would end its line, or is not ASCII. The message does not show it.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    for name, text in headers.items():
        if not (text.isascii() and text.replace("\t", " ").isprintable()):
            raise RequestError(f"the header {name} has characters that no header has")
        lines.append(f"{name}: {text}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")
