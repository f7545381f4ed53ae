"""Attacks on HTTP itself over raw sockets. Afterwards the API must still work."""

import socket
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest

from koco.control.services.endpoint_client import Forwarded
from koco.store.model import AuditQuery
from tests.support.api_server import Api, serving
from tests.support.releases import manifest

KEY = b"Host: koco\r\nAuthorization: Bearer ada\r\n"
LIST = b"GET /v1/executions HTTP/1.1\r\n"
CANCEL = b"POST /v1/executions/latest/cancel HTTP/1.1\r\n"
#: A second request, hidden in the first one's body.
HIDDEN = b"POST /v1/executions/latest/cancel HTTP/1.1\r\n" + KEY + b"Content-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.execution()
        yield api


@pytest.fixture(autouse=True)
def _stays_well(api: Api) -> Iterator[None]:
    yield
    with api.http() as client:
        assert client.get("/v1/executions").status_code == 200


def connect(api: Api) -> socket.socket:
    host, _, port = api.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def raw(api: Api, sent: bytes, *, patience_s: float = 10.0) -> bytes:
    """Send bytes, and return the answer until the API closes the connection."""
    received = b""
    with connect(api) as client:
        client.settimeout(patience_s)
        try:
            client.sendall(sent)
            while piece := client.recv(65536):
                received += piece
        except ConnectionError:  # it is closed while something is unread
            pass
    return received


def statuses(answer: bytes) -> list[int]:
    """Return the status of each answer in some bytes."""
    starts = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    inside = answer.count(b"HTTP/1.1 ")
    assert inside == len(starts)
    return [int(line.split()[1]) for line in starts]


def changes(api: Api) -> int:
    """Return how many changes were made or refused."""
    page = api.call(api.parts.store.audit.page(AuditQuery(action="cancel_execution"), limit=1000))
    return len(page.items)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 5\r\nContent-Length: 0\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding\r\n : chunked\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
        b"X: a\0b\r\n",
        b"X: a\r\n Authorization: Bearer bob\r\n",
    ],
)
def test_an_ambiguous_request_is_refused(api: Api, head: bytes) -> None:
    """None of it is carried out, and the connection is closed, so nothing can hide behind it."""
    before = changes(api)
    answer = raw(api, CANCEL + KEY + head + b"\r\n0\r\n\r\n" + HIDDEN)
    assert set(statuses(answer)) == {400}
    assert changes(api) - before <= 1
    assert b"202 Accepted" not in answer


@pytest.mark.parametrize(
    "chunk",
    [b"2\n{}\n0\n\n", b"-2\r\n{}\r\n0\r\n\r\n", b"fffffffffffffffff\r\n{}\r\n", b"2x\r\n{}\r\n"],
)
def test_an_invalid_chunk_ends_the_connection(api: Api, chunk: bytes) -> None:
    """The bytes after it are not read as a request."""
    answer = raw(api, CANCEL + KEY + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + HIDDEN)
    assert 202 not in statuses(answer)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/executions HTTP/1.1\n" + KEY.replace(b"\r", b"") + b"\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\n" + KEY + b"\r\n",
        b"GET /v1/executions/\0 HTTP/1.1\r\n" + KEY + b"\r\n",
        b"GET /v1/executions/\xff HTTP/1.1\r\n" + KEY + b"\r\n",
        b"GET /v1/executions HTTP/9.9\r\n" + KEY + b"\r\n",
        b"G\xcb\xa2T /v1/executions HTTP/1.1\r\n" + KEY + b"\r\n",
    ],
)
def test_an_invalid_request_is_refused(api: Api, request_: bytes) -> None:
    """Briefly, and without a traceback in the log."""
    assert statuses(raw(api, request_)) == [400]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://evil.test/v1/executions", 200),
        (b"//v1/executions", 200),
        (b"/v1/executions/../keys", 404),
        (b"/v1/executions/%2e%2e/keys", 404),
        (b"/v1/executions/..%2fkeys", 404),
        (b"/v1/executions/%252e%252e/keys", 404),
        (b"/v1/executions/..;/keys", 404),
        (b"/v1/executions/latest;x=/cancel", 405),
        (b"/v1/executions/%00", 404),
        (b"/v1/executions/latest%00", 404),
        (b"/v1/executions/%ff%fe", 404),
        (b"/v1/executions/%c0%ae%c0%ae/keys", 404),
        (b"/v1\\..\\v1\\keys", 404),
        (b"/V1/keys", 404),
        (b"/v1/keys", 403),
        (b"/v1/keys/", 403),
        (b"//v1//keys", 403),
        (b"/v1%2fkeys", 403),
        (b"/%76%31/keys", 403),
    ],
)
def test_no_spelling_of_a_path_avoids_its_guard(api: Api, target: bytes, status: int) -> None:
    """The guard belongs to the route, so every path to the route has it."""
    answer = raw(api, b"GET " + target + b" HTTP/1.1\r\n" + KEY + b"Connection: close\r\n\r\n")
    assert statuses(answer) == [status]


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Authorization: Basic YWRhOmFkYQ==\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: ada\r\n",
        b"Authorization: Bearer ada, Bearer ada\r\n",
        b"X-Authorization: Bearer ada\r\n",
        b"Authorization_: Bearer ada\r\n",
        b"Proxy-Authorization: Bearer ada\r\n",
        b"X-Koco-User: ada\r\nX-Koco-Signature: x\r\nX-Koco-Key: ada\r\n",
        b"X-Forwarded-User: ada\r\nRemote-User: ada\r\nX-Original-URL: /health\r\n",
        b"X-Rewrite-URL: /health\r\nX-HTTP-Method-Override: GET\r\n",
        b"Cookie: session=ada; koco=ada; __Host-koco=ada; koco_session=ada\r\n",
        b"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
    ],
)
def test_only_a_key_identifies_the_caller(api: Api, headers: bytes) -> None:
    """Neither a proxy's header nor one that looks like koco's own does."""
    answer = raw(api, LIST + b"Host: koco\r\nConnection: close\r\n" + headers + b"\r\n")
    assert statuses(answer) in ([401], [429])


def test_a_key_in_the_url_does_not_count(api: Api) -> None:
    """URLs end up in logs."""
    target = b"GET /v1/executions?access_token=ada&key=ada&token=ada HTTP/1.1\r\n"
    target += b"Host: x\r\nConnection: close\r\n\r\n"
    assert statuses(raw(api, target)) in ([401], [429])


def test_a_trailer_is_not_a_header(api: Api) -> None:
    """A trailer cannot bring a key or a header that a proxy has removed."""
    body = b"Host: koco\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer ada\r\n\r\n"
    with connect(api) as client:
        client.sendall(LIST + body)
        answer = client.recv(65536)
    assert statuses(answer) == [401]


def test_an_endless_trailer_is_refused(api: Api) -> None:
    """Even if nothing reads it, because the parser would keep it."""
    head = b"POST /v1/session HTTP/1.1\r\nHost: koco\r\nContent-Type: application/json\r\n"
    with connect(api) as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ")
        sent = 0
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(b"a" * 65536)
                sent += 1
                assert sent < 1000, "it takes all that comes"
                time.sleep(0.001)


def test_pipelined_requests_are_limited(api: Api) -> None:
    """A few are answered. Many would cost some hundred times their size in memory."""
    one = LIST + KEY + b"\r\n"
    last = LIST + KEY + b"Connection: close\r\n\r\n"
    assert raw(api, one * 10 + last).count(b"HTTP/1.1 200 OK") == 11
    assert raw(api, one * 500).count(b"HTTP/1.1") < 50


def test_an_invalid_request_does_not_interrupt_an_answer(api: Api) -> None:
    """An error in the middle of another answer would be read as a part of it."""
    follow = b"GET /v1/executions/latest/events?follow=true HTTP/1.1\r\n" + KEY + b"\r\n"
    with connect(api) as client:
        client.sendall(follow)
        received = client.recv(65536)
        client.sendall(b"no request\r\n\r\n")
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionError:
            pass
    assert statuses(received) == [200]


def test_an_endless_head_is_refused(api: Api) -> None:
    """In one header or in many."""
    for head in (b"X: " + b"a" * 10_000_000, b"X: a\r\n" * 100_000):
        answer = b""
        with connect(api) as client:
            try:
                client.sendall(LIST + KEY + head)
                answer = client.recv(65536)
            except OSError:  # cut off while it was still sending
                continue
        assert answer == b"" or statuses(answer) == [431]


def closed_after_s(api: Api, sent: bytes, *, trickle: bytes = b"") -> float:
    """Send bytes, then one more now and then; return when the API closes the connection."""
    began = time.monotonic()
    with connect(api) as client:
        client.sendall(sent)
        client.settimeout(0.05)
        while time.monotonic() - began < 60:
            try:
                if not client.recv(65536):
                    return time.monotonic() - began
            except TimeoutError:
                pass
            except OSError:
                return time.monotonic() - began
            try:
                client.sendall(trickle)
            except OSError:
                return time.monotonic() - began
    raise AssertionError("the API waits for it still")


@pytest.mark.parametrize(
    ("sent", "trickle"),
    [
        (b"", b""),
        (b"GET /v1/exec", b""),
        (LIST, b"X"),
        (LIST + KEY + b"X: ", b"a"),
    ],
    ids=["nothing", "half a line", "a name without end", "a value without end"],
)
def test_a_slow_head_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch, sent: bytes, trickle: bytes
) -> None:
    """The connection is closed, so holding it costs the client work."""
    monkeypatch.setattr("koco.control.server.http_protocol._HEAD_S", 0.2)
    assert closed_after_s(api, sent, trickle=trickle) < 20


def test_a_slow_body_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then must not hold a task and a connection."""
    monkeypatch.setattr("koco.api.http.request._BODY_S", 0.2)
    monkeypatch.setattr("koco.control.server.http_protocol._LINGER_S", 0.2)
    head = CANCEL + KEY + b"Content-Length: 1000\r\n\r\n"
    assert closed_after_s(api, head, trickle=b" ") < 4


def test_a_request_is_refused_if_its_key_is_revoked_meanwhile(api: Api) -> None:
    """A body that arrives after the key was revoked changes nothing."""
    api.admit("gone", "launch", sees_all=True)
    before = changes(api)
    with connect(api) as client:
        head = CANCEL + KEY.replace(b"ada", b"gone")
        client.sendall(head + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.1)
        api.call(api.parts.keys.revoke("gone"))
        client.sendall(b"}")
        assert statuses(client.recv(65536)) == [401]
    assert changes(api) == before + 1  # which says that it was refused


def test_the_body_of_a_refused_request_is_not_awaited(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller without a key cannot hold the connection by sending a slow body."""
    monkeypatch.setattr("koco.control.server.http_protocol._LINGER_S", 0.2)
    head = CANCEL + b"Host: x\r\nContent-Length: 100000\r\n\r\n"
    assert closed_after_s(api, head, trickle=b" ") < 4


def test_a_large_body_gets_more_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit grows with the bytes that have arrived."""
    monkeypatch.setattr("koco.api.http.request._BODY_S", 0.4)
    monkeypatch.setattr("koco.api.http.request._BYTES_S", 1000)
    with connect(api) as client:
        client.sendall(CANCEL + KEY + b"Connection: close\r\nContent-Length: 1600\r\n\r\n")
        for _ in range(8):
            client.sendall(b" " * 200)
            time.sleep(0.1)
        assert statuses(client.recv(65536)) == [400]  # it arrived, and is not JSON


def test_a_thousand_silent_connections_block_nobody(api: Api) -> None:
    """They stay open and cost little."""
    held = [connect(api) for _ in range(1000)]
    try:
        began = time.process_time()
        with api.http() as client:
            assert client.get("/v1/executions").status_code == 200
        assert time.process_time() - began < 2
    finally:
        for each in held:
            each.close()


def test_a_client_that_disconnects_in_a_body_leaves_no_traceback(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise any caller with a key could fill the log."""
    with connect(api) as client:
        client.sendall(CANCEL + KEY + b"Content-Length: 1000\r\n\r\n{")
    with connect(api) as client:
        client.sendall(CANCEL + KEY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        client.recv(65536)
    time.sleep(0.1)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            b"HTTP/1.1\r\nAuthorization: Bearer ada\r\n",
            b"must have one Host header, this one has none",
        ),
        (b"HTTP/1.1\r\n" + KEY + b"Host: evil\r\n", b"must have one Host header, this one has 2"),
        (b"HTTP/1.1\r\n" + KEY + b"hOST: koco\r\n", b"must have one Host header, this one has 2"),
        (b"HTTP/1.0\r\n" + KEY + b"Host: koco\r\n", b"must have one Host header, this one has 2"),
        (
            b"HTTP/1.0\r\n" + KEY + b"Transfer-Encoding: chunked\r\n",
            b"cannot have Transfer-Encoding",
        ),
        (b"HTTP/1.1\r\n" + KEY + b"Authorization: Bearer bob\r\n", b"this one has several"),
        (b"HTTP/1.1\r\n" + KEY + b"authorization: Bearer ada\r\n", b"this one has several"),
    ],
)
def test_an_ambiguous_head_is_refused(api: Api, head: bytes, message: bytes) -> None:
    """No or two `Host`, or two keys: 400 that names it, and the next request is not read."""
    before = changes(api)
    answer = raw(api, b"POST /v1/executions/latest/cancel " + head + b"\r\n" + HIDDEN)
    assert statuses(answer) == [400]
    assert message in answer
    assert changes(api) == before


def test_a_request_of_http_1_0_needs_no_host(api: Api) -> None:
    """Load balancers send such health checks."""
    answer = raw(api, b"GET /v1/executions HTTP/1.0\r\nAuthorization: Bearer ada\r\n\r\n")
    assert statuses(answer) == [200]


def test_a_charset_is_sent_once(api: Api) -> None:
    """litestar would add one to answers of services, to metrics and to texts."""

    async def passed(*_: object, **__: object) -> Forwarded:
        async def body() -> AsyncIterator[bytes]:
            yield b"hi"

        return Forwarded(200, {"content-type": kind}, body())

    parts = api.parts
    parts.catalog = SimpleNamespace(
        release=lambda _: SimpleNamespace(manifest=manifest(), app={}), at=lambda *_: None
    )
    parts.endpoints = SimpleNamespace(pass_through=passed)
    with api.http() as client:
        for kind in ("text/html; charset=utf-8", "text/css", "image/png", "text/plain;charset=x"):
            answer = client.get("/v1/services/svc/app/x")
            assert (answer.status_code, answer.text) == (200, "hi")
            assert answer.headers.get_list("content-type") == [kind]
