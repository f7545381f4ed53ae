"""Requests to one server, over connections that are kept, directly or through a proxy."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from koco.client.http.connection import Connection, Head, Headers, write_head
from koco.client.http.failures import ConnectError, ConnectTimeoutError, HttpError, ProxyError
from koco.client.http.pace import Pace

if TYPE_CHECKING:
    import ssl

#: Timeout for making a connection (seconds): each of an address, TLS and the way through a proxy.
CONNECT_S = 5.0

#: The characters of a path that are sent as they are; `quote` has been there before.
_SAFE = "/%:@!$&'()*+,;=~"

#: The methods whose requests say that they have no body.
_WITH_BODY = ("POST", "PUT", "PATCH")


class Request:
    """A request. `body` in pieces is sent in chunks, unless the headers have its length."""

    def __init__(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | list[str]],
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] | None,
        timeout_s: float,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.timeout_s = timeout_s


class Response:
    """An answer, with its body still to be read."""

    def __init__(self, head: Head, path: str, pieces: Iterator[bytes]) -> None:
        self.status: int = head.status
        self.headers: Headers = head.headers
        #: The decoded path of the request, with what the server's URL has before it.
        self.path = path
        self._pieces = pieces

    def pieces(self, size_bytes: int | None = None) -> Iterator[bytes]:
        """Yield the body as it arrives, or in pieces of that size; the last one may be shorter."""
        if size_bytes is None:
            yield from self._pieces
            return
        held = bytearray()
        for piece in self._pieces:
            held += piece
            while len(held) >= size_bytes:
                yield bytes(held[:size_bytes])
                del held[:size_bytes]
        if held:
            yield bytes(held)


class Session:
    """A server's URL and what each request to it carries. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        proxy: str | None,
        trust: Callable[[], "ssl.SSLContext"],
    ) -> None:
        parts = urlsplit(url)
        self._base = parts.path.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._host, self._port = _place(parts)
        self._headers = {"Host": _host_header(parts), "Accept": "*/*", **headers}
        self._proxy = urlsplit(proxy) if proxy else None
        self._origin = ""
        if self._proxy is not None:
            if self._proxy.scheme not in ("http", "https") or not self._proxy.hostname:
                raise ValueError(f"a proxy of the kind {self._proxy.scheme}:// is not supported")
            if not self._is_tls:  # the proxy makes the request, and so gets the whole URL
                self._origin = f"http://{self._headers['Host']}"
                self._headers |= _credentials(self._proxy)
        is_secured = self._is_tls or (self._proxy is not None and self._proxy.scheme == "https")
        # Reading the certificates takes 40 ms, and plain HTTP does not need them.
        self._trusted = trust() if is_secured else None
        # Their own operations are atomic, so no lock is needed.
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._process = os.getpid()

    def close(self) -> None:
        """Close all connections of this process. What still reads from one gets an error."""
        self._leave_others()
        self._idle.clear()
        for connection in tuple(self._open):
            self._drop(connection)

    @contextmanager
    def send(self, request: Request, pace: Pace) -> Iterator[Response]:
        """Send a request and give its answer, with the body still to be read, at the given pace.

        Raises:
            HttpError: now or while the body is read; see `failures`.
        """
        head, body = self._write(request)
        connection = self._take() or self._connect()
        is_kept = False
        try:
            is_sent = connection.send(head, body, request.timeout_s)
            answer = connection.head(pace)
            pieces = connection.body(answer, is_empty=request.method == "HEAD")
            yield Response(answer, unquote(self._base + request.path), pieces)
            is_kept = is_sent and connection.is_free
        finally:
            if is_kept:
                connection.rest()
                self._idle.append(connection)
            else:
                self._drop(connection)

    def _write(self, request: Request) -> tuple[bytes, bytes | Iterator[bytes] | None]:
        """Return the head of a request, and its body as it is sent."""
        headers, body = {**self._headers, **request.headers}, request.body
        if isinstance(body, bytes) or (body is None and request.method in _WITH_BODY):
            headers["Content-Length"] = str(len(body or b""))
        elif body is not None and "Content-Length" not in headers:
            headers["Transfer-Encoding"] = "chunked"
            body = _in_chunks(body)
        target = quote(self._base + request.path, safe=_SAFE)
        if query := urlencode(request.query, doseq=True):
            target = f"{target}?{query}"
        return write_head(request.method, self._origin + target, headers), body

    def _take(self) -> Connection | None:
        """Return an idle connection that can be used, if there is one."""
        self._leave_others()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            self._drop(connection)

    def _leave_others(self) -> None:
        """After a fork, forget connections: two processes on one would get each other's answers."""
        if self._process != os.getpid():
            self._idle, self._open, self._process = [], set(), os.getpid()

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _connect(self) -> Connection:
        """Return a new connection to the server.

        Raises:
            ConnectError: there is none, or it is not trusted.
        """
        proxy = self._proxy
        link = _reach(*(_place(proxy) if proxy is not None else (self._host, self._port)))
        try:
            if proxy is not None:
                if proxy.scheme == "https":
                    link = self._secure(link, proxy.hostname or "")
                if self._is_tls:
                    self._pass_through(proxy, link)
            if self._is_tls:
                link = self._secure(link, self._host)
        except BaseException:
            link.close()
            raise
        connection = Connection(link)
        self._open.add(connection)
        return connection

    def _secure(self, link: socket.socket, host: str) -> socket.socket:
        assert self._trusted is not None
        try:
            return self._trusted.wrap_socket(link, server_hostname=host)
        except TimeoutError as exc:
            raise ConnectTimeoutError(str(exc)) from exc
        except OSError as exc:  # that of TLS is one, too
            raise ConnectError(str(exc)) from exc

    def _pass_through(self, proxy: SplitResult, link: socket.socket) -> None:
        """Have a proxy connect to the server.

        Raises:
            ProxyError: it does not.
        """
        place = f"[{self._host}]" if ":" in self._host else self._host
        place = f"{place}:{self._port}"
        connection = Connection(link)
        try:
            head = write_head("CONNECT", place, {"Host": place, **_credentials(proxy)})
            connection.send(head, None, CONNECT_S)
            answer = connection.head(Pace(CONNECT_S))
        except HttpError as exc:
            raise ProxyError(str(exc)) from exc
        if not 200 <= answer.status < 300:
            raise ProxyError(f"{answer.status} {answer.reason}".rstrip())
        link.settimeout(CONNECT_S)


def _reach(host: str, port: int) -> socket.socket:
    try:
        # As bytes, because text would be encoded once more, which loads tables of Unicode.
        place: Any = host.encode("ascii")
        link = socket.create_connection((place, port), CONNECT_S)
    except TimeoutError as exc:
        raise ConnectTimeoutError(str(exc)) from exc
    except (OSError, UnicodeError) as exc:  # a name that cannot be looked up
        raise ConnectError(str(exc)) from exc
    # A request is sent when it is whole: nothing is gained by waiting for more of it.
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _place(parts: SplitResult) -> tuple[str, int]:
    """Return the host and port of a URL; the host as it is looked up."""
    host = parts.hostname or ""
    host = host if host.isascii() else host.encode("idna").decode()
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def _host_header(parts: SplitResult) -> str:
    host, port = _place(parts)
    host = f"[{host}]" if ":" in host else host
    return host if port == (443 if parts.scheme == "https" else 80) else f"{host}:{port}"


def _credentials(proxy: SplitResult) -> dict[str, str]:
    """Return the header with a proxy's user name and password, if its URL has them."""
    if proxy.username is None and proxy.password is None:
        return {}
    import base64  # rarely needed

    text = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def _in_chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
