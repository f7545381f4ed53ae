"""The HTTP client against sockets that say exactly what a test has them say."""

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.client.http.failures import (
    BrokenError,
    ConnectError,
    HttpError,
    ProxyError,
    RequestError,
    SilenceError,
)
from koco.client.http.pace import Pace
from koco.client.http.session import Request, Session
from tests.support.certificates import make_certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server that answers each request of a connection with the next of its texts."""

    def __init__(self, *says: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[bytes] = []
        self.connections = 0
        self._says = says
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            with self._tls.wrap_socket(link, server_side=True) if self._tls else link as link:
                for text in self._says:
                    self.asked.append(_read_request(link))
                    link.sendall(text)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _read_request(link: socket.socket) -> bytes:
    asked = b""
    while b"\r\n\r\n" not in asked:
        if not (piece := link.recv(65536)):
            raise OSError
        asked += piece
    head, _, body = asked.partition(b"\r\n\r\n")
    lower = head.lower()
    while b"chunked" in lower and not body.endswith(b"0\r\n\r\n"):
        body += link.recv(65536)
    if b"content-length: " in lower:
        size = int(lower.partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < size:
            body += link.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def start(*says: bytes, tls: ssl.SSLContext | None = None) -> Peer:
        peers.append(Peer(*says, tls=tls))
        return peers[-1]

    yield start
    for each in peers:
        each.close()


def session(url: str, proxy: str | None = None, ca: Path | None = None) -> Session:
    return Session(
        url,
        headers={"X-Own": "1"},
        proxy=proxy,
        trust=lambda: ssl.create_default_context(cafile=ca),
    )


def ask(
    own: Session, method: str = "GET", path: str = "/v1/x", *, body: Any = None, **more: Any
) -> tuple[int, bytes]:
    """Return status and body."""
    options: dict[str, Any] = {"query": {}, "headers": {}, "timeout_s": 20.0, **more}
    with own.send(Request(method, path, body=body, **options), Pace(20.0)) as answer:
        return answer.status, b"".join(answer.pieces())


def test_a_request_has_its_path_query_and_headers(peer: Any) -> None:
    """Below what the URL has before it, and with everything escaped that is not already."""
    server = peer(OK)
    own = session(f"{server.url}/below/")
    query = {"a": "x y&", "b": ["1", "ü"]}
    assert ask(own, path="/v1/ü b%2Fc", query=query, headers={"X-More": "2"}) == (200, b"ok")
    first, *lines = server.asked[0].decode().split("\r\n")
    assert first == "GET /below/v1/%C3%BC%20b%2Fc?a=x+y%26&b=1&b=%C3%BC HTTP/1.1"
    host = f"127.0.0.1:{server.port}"
    assert lines == [f"Host: {host}", "Accept: */*", "X-Own: 1", "X-More: 2", "", ""]


BODIES: list[tuple[Any, dict[str, str], bytes, bytes]] = [
    (None, {}, b"Content-Length: 0", b""),
    (b"abc", {}, b"Content-Length: 3", b"abc"),
    (lambda: iter([b"ab", b"", b"c"]), {}, b"Transfer-Encoding: chunked", b"2\r\nab\r\n1\r\nc\r\n"),
    (lambda: iter([b"ab", b"c"]), {"Content-Length": "3"}, b"Content-Length: 3", b"abc"),
]


@pytest.mark.parametrize(("body", "headers", "says", "sent"), BODIES)
def test_a_body_is_sent_with_its_length_or_in_chunks(
    peer: Any, body: Any, headers: dict[str, str], says: bytes, sent: bytes
) -> None:
    server = peer(OK)
    given = body() if callable(body) else body
    assert ask(session(server.url), "POST", body=given, headers=headers) == (200, b"ok")
    head, _, came = server.asked[0].partition(b"\r\n\r\n")
    assert says in head.split(b"\r\n")
    assert came == (sent + b"0\r\n\r\n" if b"chunked" in says else sent)


ANSWERS = {
    "a length": (OK, b"ok"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\no\r\n0001;x=y\r\nk\r\n0\r\nA-Trailer: 1\r\n\r\n",
        b"ok",
    ),
    "no body": (b"HTTP/1.1 204 No\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "an interim answer": (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"ok"),
    "twice the same length": (OK.replace(b"\r\n", b"\r\nContent-Length: 2\r\n", 1), b"ok"),
}


@pytest.mark.parametrize(("says", "body"), ANSWERS.values(), ids=ANSWERS)
def test_a_connection_serves_the_next_request(peer: Any, says: bytes, body: bytes) -> None:
    """If all of the answer was read, and its end is known."""
    server = peer(says, OK)
    own = session(server.url)
    assert ask(own)[1] == body
    assert ask(own) == (200, b"ok")
    assert server.connections == 1


LAST = {
    "told so": OK.replace(b"\r\n", b"\r\nConnection: Close\r\n", 1),
    "of HTTP 1.0": OK.replace(b"1.1", b"1.0"),
    "without a length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "with more than its length": OK + b"more",
    "with two ends": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("says", LAST.values(), ids=LAST)
def test_a_connection_is_closed_after_its_last_answer(peer: Any, says: bytes) -> None:
    """Otherwise the rest of this answer would be read as the next one."""
    server = peer(says)
    own = session(server.url)
    for _ in range(2):
        assert ask(own) == (200, b"ok")
    assert server.connections == 2


def test_an_answer_that_is_not_read_takes_its_connection_with_it(peer: Any) -> None:
    server = peer(OK, OK)
    own = session(server.url)
    request = Request("GET", "/", query={}, headers={}, body=None, timeout_s=20)
    with own.send(request, Pace(20)) as answer:
        assert answer.headers.get("content-LENGTH") == "2"
    assert ask(own) == (200, b"ok")
    assert server.connections == 2


def test_a_connection_that_the_server_closed_is_not_used(peer: Any) -> None:
    """It is noticed before a request is lost in it."""
    server = peer(OK)
    own = session(server.url)
    for _ in range(3):
        assert ask(own) == (200, b"ok")
        [connection] = own._idle
        connection._link.settimeout(20)
        assert connection._link.recv(1, socket.MSG_PEEK) == b"", "the server has closed it"
    assert server.connections == 3


def test_an_idle_connection_grows_old(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers close one after seconds, perhaps while the next request is on its way."""
    server = peer(OK, OK)
    own = session(server.url)
    monkeypatch.setattr("koco.client.http.connection._IDLE_S", -1.0)
    for _ in range(2):
        ask(own)
    assert server.connections == 2


def test_a_head_has_no_body(peer: Any) -> None:
    """Though it has the length of one."""
    server = peer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", OK)
    own = session(server.url)
    assert ask(own, "HEAD") == (200, b"")
    assert ask(own) == (200, b"ok")
    assert server.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "nothing": b"",
    "a part of a head": b"HTTP/1.1 200 OK\r\nX: 1\r\n",
    "another protocol": b"SSH-2.0-x\r\n\r\n",
    "another version": OK.replace(b"1.1", b"2.0"),
    "a status of letters": OK.replace(b"200", b"2x0"),
    "a header without a colon": OK.replace(b"\r\n", b"\r\nx\r\n", 1),
    "a header with white space": OK.replace(b"\r\n", b"\r\nX : 1\r\n", 1),
    "a header of two lines": OK.replace(b"\r\n", b"\r\nX: 1\r\n 2: 3\r\n", 1),
    "two lengths": OK.replace(b"\r\n", b"\r\nContent-Length: 3\r\n", 1),
    "a length of letters": OK.replace(b": 2", b": 0x2"),
    "a length below zero": OK.replace(b": 2", b": -2"),
    "a part of a body": OK.replace(b": 2", b": 3"),
    "another coding": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\n",
    "a size with a sign": CHUNKED + b"+1\r\nx\r\n0\r\n\r\n",
    "a size with an underscore": CHUNKED + b"0_1\r\nx\r\n0\r\n\r\n",
    "a size below zero": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "a size that is too long": CHUNKED + b"0" * 20 + b"1\r\nx\r\n0\r\n\r\n",
    "a chunk that is too long": CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n",
    "a part of the chunks": CHUNKED + b"1\r\nx\r\n",
    "a long head": OK.replace(b"\r\n", b"\r\nX: " + b"x" * 110_000 + b"\r\n", 1),
    "a long size": CHUNKED + b"1;" + b"x" * 5000 + b"\r\nx\r\n0\r\n\r\n",
    "long trailers": CHUNKED + b"0\r\n" + b"X: 1\r\n" * 30_000 + b"\r\n",
}


@pytest.mark.parametrize("says", BROKEN.values(), ids=BROKEN)
def test_what_is_not_http_is_broken(peer: Any, says: bytes) -> None:
    """Whatever two readers might understand differently is refused, too."""
    own = session(peer(says).url)
    with pytest.raises(BrokenError):
        ask(own)
    assert not own._open


def test_an_answer_before_the_end_of_the_request_counts(peer: Any) -> None:
    """A server may refuse a body without reading it, and close."""
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        link, _ = listener.accept()
        link.recv(100)
        link.sendall(refusal)
        link.shutdown(socket.SHUT_WR)
        while link.recv(65536):
            pass
        link.close()

    threading.Thread(target=refuse, daemon=True).start()
    with listener:
        own = session(f"http://127.0.0.1:{listener.getsockname()[1]}")
        body = (b"x" * 65536 for _ in range(100))
        assert ask(own, "PUT", body=body) == (413, b"no")


def test_a_request_that_is_not_read_ends(peer: Any) -> None:
    """Its body waits as long as the request's timeout, and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        own = session(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        body = (b"x" * 65536 for _ in range(10_000))
        with pytest.raises(SilenceError):
            ask(own, "PUT", body=body, timeout_s=0.2)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "a\x00", "ü"])
def test_a_header_cannot_become_two(peer: Any, value: str) -> None:
    server = peer(OK)
    with pytest.raises(RequestError, match="X-Name") as caught:
        ask(session(server.url), headers={"X-Name": value})
    assert value not in str(caught.value)
    assert server.asked == []


def test_a_closed_session_ends_its_readers(peer: Any) -> None:
    """Also in another thread, which waits for more."""
    server = peer(b"HTTP/1.1 200 OK\r\n\r\nfirst", b"")
    own = session(server.url)
    request = Request("GET", "/", query={}, headers={}, body=None, timeout_s=60)
    ends: list[Exception | None] = []

    def read() -> None:
        try:
            with own.send(request, Pace(60)) as answer:
                for _ in answer.pieces():
                    begun.set()
            ends.append(None)
        except HttpError as exc:
            ends.append(exc)

    begun = threading.Event()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert begun.wait(20)
    own.close()
    reader.join(20)
    assert len(ends) == 1


# TLS and proxies


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server speaks, and the certificate to trust."""
    cert, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def test_only_a_trusted_server_gets_a_request(peer: Any, tls: Any) -> None:
    server = peer(OK, tls=tls[0])
    assert ask(session(server.url, ca=tls[1])) == (200, b"ok")
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(session(server.url))
    assert len(server.asked) == 1


def test_a_server_that_does_not_speak_tls_is_no_connection(peer: Any, tls: Any) -> None:
    server = peer(OK)
    with pytest.raises(ConnectError):
        ask(session(server.url.replace("http", "https"), ca=tls[1]))


BASIC = b"Proxy-Authorization: Basic " + base64.b64encode(b"me:s p")


def test_a_proxy_makes_a_plain_request(peer: Any) -> None:
    """It gets the whole URL, and its own password."""
    proxy = peer(OK)
    own = session("http://koco.test/below", f"http://me:s%20p@127.0.0.1:{proxy.port}")
    assert ask(own) == (200, b"ok")
    lines = proxy.asked[0].split(b"\r\n")
    assert lines[0] == b"GET http://koco.test/below/v1/x HTTP/1.1"
    assert b"Host: koco.test" in lines and BASIC in lines


class Tunnel(Peer):
    """A proxy that connects to a server, for one connection."""

    def __init__(self, target: int, tls: ssl.SSLContext | None) -> None:
        self._target = target
        super().__init__(tls=tls)

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            with self._tls.wrap_socket(link, server_side=True) if self._tls else link as link:
                self.asked.append(_read_request(link))
                link.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                with socket.create_connection(("127.0.0.1", self._target)) as to:
                    back = threading.Thread(target=_copy, args=(to, link), daemon=True)
                    back.start()
                    _copy(link, to)
                    back.join(20)


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


def test_a_proxy_passes_tls_through(peer: Any, tls: Any) -> None:
    """It sees the server's name, and neither key nor path."""
    server = peer(OK, OK, tls=tls[0])
    proxy = Tunnel(server.port, None)
    own = session(server.url, f"http://me:s%20p@127.0.0.1:{proxy.port}", tls[1])
    for _ in range(2):
        assert ask(own) == (200, b"ok")
    own.close()
    proxy.close()
    [asked] = proxy.asked
    place = f"127.0.0.1:{server.port}".encode()
    assert asked.split(b"\r\n") == [
        b"CONNECT %b HTTP/1.1" % place,
        b"Host: " + place,
        BASIC,
        b"",
        b"",
    ]
    assert server.asked[0].startswith(b"GET /v1/x HTTP/1.1\r\n")


def test_a_proxy_may_speak_tls_itself(peer: Any, tls: Any) -> None:
    proxy = peer(OK, tls=tls[0])
    own = session("http://koco.test", f"https://127.0.0.1:{proxy.port}", tls[1])
    assert ask(own) == (200, b"ok")
    assert proxy.asked[0].startswith(b"GET http://koco.test/v1/x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("says", "told"),
    [(b"HTTP/1.1 407 Who are you?\r\n\r\n", "407 Who are you"), (b"", "without any")],
)
def test_a_proxy_that_refuses_is_named(peer: Any, tls: Any, says: bytes, told: str) -> None:
    proxy = peer(says)
    own = session("https://koco.test", f"http://127.0.0.1:{proxy.port}", tls[1])
    with pytest.raises(ProxyError, match=told):
        ask(own)
