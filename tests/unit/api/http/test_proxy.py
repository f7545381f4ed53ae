"""Limits, slow readers, proxies and browsers, over real sockets."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec
import pytest

from koco.control.access.caller import Caller
from koco.control.access.rate_limit import Rates
from koco.control.server import listener as listening
from koco.control.services.catalog import Catalog
from koco.control.services.endpoint_client import Endpoints
from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import AuditQuery
from tests.support.api_server import Api, serving
from tests.support.driver import calm_s
from tests.support.http_server import QuietServer
from tests.support.releases import manifest
from tests.unit.control.services.test_endpoint_client import RELEASE, ServeOfOnes, Stranger


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Iterator[Api]:
    """Give the API with settings that may be changed."""
    former = {name: getattr(running.parts.settings, name) for name in Settings.__struct_fields__}
    yield running
    running.parts.settings.change(former)


def raw(api: Api, request: bytes, *, timeout_s: float = 5) -> bytes:
    """Send bytes, and return the answer until the API closes the connection."""
    with connected(api, timeout_s) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(request)  # it may be refused before all of it was sent
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def connected(api: Api, timeout_s: float = 5) -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout_s)


def problem(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


# limits


def test_the_size_of_a_body_is_limited(api: Api) -> None:
    """With and without a length. A change takes effect at once, and the error names the setting."""
    body = json.dumps({"text": "x" * 20_000}).encode()

    def pieces() -> Iterator[bytes]:
        yield from (body[i : i + 1000] for i in range(0, len(body), 1000))

    with api.http() as client:
        path = f"/v1/executions/{api.execution()}/cancel"
        assert client.post(path, content=body).status_code != 413
        api.parts.settings.max_body_mb = 0.01
        for content in (body, pieces()):
            answer = client.post(path, content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "limit")
            assert "max_body_mb, 0.01" in answer.json()["detail"]


def test_the_number_of_values_in_a_body_is_limited(api: Api) -> None:
    """Before it is decoded. A text with as many commas is accepted."""
    with api.http() as client:
        path = f"/v1/executions/{api.execution()}/cancel"
        api.parts.settings.max_body_values = 1000
        answer = client.post(path, content=b"[%b1]" % (b"1," * 2000))
        assert (answer.status_code, answer.json()["code"]) == (413, "limit")
        assert "max_body_values, 1000" in answer.json()["detail"]
        commas = b'{"grace_s": 1, "x": "%b"}' % (b"," * 2000)
        assert client.post(path, content=commas).status_code == 400


def test_a_plan_may_have_more_values(api: Api) -> None:
    """A project with a hundred thousand files can be deployed."""
    api.admit("ci", "deploy")
    plan = b'{"services": [%b1]}'
    with api.http("ci") as client:
        assert client.post("/v1/plan", content=plan % (b"1," * 400_000)).status_code == 400
        assert client.post("/v1/plan", content=plan % (b"1," * 1_000_000)).status_code == 413


def test_the_size_of_a_head_is_limited(api: Api) -> None:
    """In one header or many, whole or endless: 431, and the connection is closed."""
    many = b"".join(b"X-%d: %b\r\n" % (i, b"v" * 500) for i in range(200))
    for head in (many + b"\r\n", b"X: " + b"v" * 500_000, many):
        status, body = problem(raw(api, b"GET /health HTTP/1.1\r\nHost: x\r\n" + head))
        assert status == 431 and "max_header_kb, 64" in body["detail"]
    api.parts.settings.max_header_kb = 200
    request = b"GET /v1/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + many + b"\r\n"
    assert problem(raw(api, request))[0] == 404


def test_invalid_http_is_answered_with_a_problem(api: Api) -> None:
    """400 in the form of all other errors."""
    status, body = problem(raw(api, b"hello\r\n\r\n"))
    assert (status, body["code"]) == (400, "usage")


def test_a_missing_head_is_not_awaited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first one of a connection nor one that has begun."""
    monkeypatch.setattr("koco.control.server.http_protocol._HEAD_S", 0.1)
    assert raw(api, b"") == b""
    assert raw(api, b"GET /health HTTP/1.1\r\nHost") == b""


def test_the_requests_of_a_key_are_limited(api: Api) -> None:
    """429 names the setting and when to retry. Other keys are not affected."""
    api.parts.settings.key_requests_per_s = 0.2  # two at once, then one in five seconds
    with api.http("ada") as ada, api.http("bob") as bob:
        answers = [ada.get("/v1/executions") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "key_requests_per_s, 0.2" in answers[2].json()["detail"]
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 5
        assert bob.get("/v1/executions").status_code == 200


def test_a_bucket_fills_over_time() -> None:
    """The rate holds in the long run, ten seconds' worth at once; 0 means no limit."""
    now = [0.0]
    settings = Settings(key_requests_per_s=2)
    rates = Rates(settings, clock=lambda: now[0])
    caller = Caller(name="ada", credential="key:ada")
    for _ in range(20):
        rates.take(caller)
    for _ in range(3):
        with pytest.raises(TooManyError):
            rates.take(caller)
        now[0] += 0.5
        rates.take(caller)
    settings.key_requests_per_s = 0
    for _ in range(100):
        rates.take(caller)


# readers that stop


def big(api: Api, *, events: int, size: int) -> str:
    """Make an execution that has large events and has not ended."""
    fid = api.execution()
    for number in range(1, events + 1):
        batch = Batch(fid, "p", number, 1, line.encode(Kind.STDOUT, "x" * size))
        api.call(api.parts.store.events.append([batch]))
    return fid


def test_a_stalled_reader_costs_little_and_is_dropped(api: Api) -> None:
    """Less than a megabyte, however large the events are. The reader may reconnect."""
    api.parts.settings.stream_stall_s = 0.3
    fid = big(api, events=2, size=8_000_000)
    request = f"GET /v1/executions/{fid}/events?follow=1 HTTP/1.1\r\nHost: x\r\n".encode()
    request += b"Authorization: Bearer ada\r\n\r\n"
    with connected(api) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.sendall(request)
        deadline = time.monotonic() + 60
        while not len(api.parts.streams):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while len(api.parts.streams):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                got += piece
        assert len(got) < 7_000_000
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    with api.http() as client_:
        answer = client_.get(f"/v1/executions/{fid}/events", params={"follow": True, "since": 3})
        kinds = [json.loads(text)["kind"] for text in answer.text.splitlines()]
        assert kinds == ["stdout", "stdout", "status"]


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="not on this system")
def test_the_kernel_buffers_little_for_a_stalled_reader() -> None:
    """A few hundred kilobytes. By default it would be megabytes."""
    listener = asyncio.run(listening.listen("127.0.0.1", 0))
    listener.setblocking(True)
    with listener, socket.create_connection(listener.getsockname()):
        answering, _ = listener.accept()
        taken = 0
        with answering, contextlib.suppress(BlockingIOError):
            answering.setblocking(False)
            while taken < 10_000_000:
                taken += answering.send(b"x" * 65_536)
    assert taken < 1_000_000


def test_a_slow_reader_is_not_dropped(api: Api) -> None:
    """It takes less than the server's buffer during this time, but it takes something."""
    api.parts.settings.stream_stall_s = 0.2
    fid = big(api, events=1, size=3_000_000)
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    request = f"GET /v1/executions/{fid}/events HTTP/1.0\r\n".encode()
    with connected(api) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.sendall(request + b"Authorization: Bearer ada\r\n\r\n")
        got = 0
        while piece := client.recv(50_000):
            got += len(piece)
            time.sleep(0.005)
        assert got > 3_000_000


def test_streams_of_a_revoked_key_end(api: Api) -> None:
    """At once, while they wait for events. A reader that reconnects is told why."""
    fid = api.execution()
    with api.http("bob") as other, api.http("ada") as client:
        with client.stream("GET", f"/v1/executions/{fid}/events", params={"follow": 1}) as answer:
            pieces = answer.iter_lines()
            assert "meta" in next(pieces)
            assert other.get("/v1/executions").status_code == 200
            api.loop.call_soon_threadsafe(api.parts.streams.end, "key:ada")
            assert all(json.loads(text) for text in pieces if text)
        assert not len(api.parts.streams)


class _Endless(BaseHTTPRequestHandler):
    """A service whose answer goes on and on."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.wfile.write(b"more\n")
                time.sleep(0.02)

    def log_message(self, *_: Any) -> None: ...


def test_a_services_stream_to_a_revoked_key_ends(api: Api) -> None:
    """Streams of a service's endpoint end, and count, like streams of events."""
    api.parts.settings.max_streams_per_key = 2
    server = QuietServer(("127.0.0.1", 0), _Endless)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.parts.catalog = Catalog()
    api.parts.catalog.put(RELEASE)
    serve: Any = ServeOfOnes(f"http://127.0.0.1:{server.server_port}", Stranger())
    api.parts.endpoints = Endpoints(serve, secret=b"s" * 32)
    try:
        with api.http() as client, api.http() as second:
            path = "/v1/services/svc/app/x"
            with client.stream("GET", path) as answer, second.stream("GET", path) as other:
                assert (answer.status_code, other.status_code) == (200, 200)
                with api.http() as third:
                    refused = third.get(path)
                    assert refused.status_code == 429
                    assert "max_streams_per_key is 2" in refused.json()["detail"]
                pieces = answer.iter_lines()
                assert next(pieces) == "more"
                api.loop.call_soon_threadsafe(api.parts.streams.end, "key:ada")
                began = calm_s()
                for _ in pieces:
                    assert calm_s() - began < 5
    finally:
        api.call(api.parts.endpoints._client().aclose())
        server.shutdown()
        server.server_close()


def test_the_number_of_streams_is_limited(api: Api) -> None:
    """429 with the setting's name and `Retry-After`."""
    api.parts.settings.max_streams_per_key = 1
    fid = api.execution()
    path, params = f"/v1/executions/{fid}/events", {"follow": "1"}
    with api.http() as client, client.stream("GET", path, params=params) as answer:
        pieces = answer.iter_raw()  # kept, because otherwise it is closed
        next(pieces)
        refused = client.get(path, params=params)
        assert refused.status_code == 429 and "max_streams_per_key is 1" in refused.json()["detail"]
        assert refused.headers["Retry-After"] == "5"


# proxies


async def _latest_address(api: Api) -> str:
    [latest] = (await api.parts.store.audit.page(AuditQuery(), limit=1)).items
    return str(latest.address)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ((), "6.6.6.6", "127.0.0.1"),
        (("10.0.0.0/8",), "6.6.6.6", "127.0.0.1"),
        (("127.0.0.1",), "6.6.6.6", "6.6.6.6"),
        (("127.0.0.0/8",), "spoofed, 8.8.8.8, 6.6.6.6", "6.6.6.6"),
        (("127.0.0.0/8", "10.0.0.0/8"), "spoofed, 6.6.6.6, 10.1.2.3", "6.6.6.6"),
    ],
)
def test_only_trusted_proxies_report_the_address(
    api: Api, proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    """It is the right-most address that is not a proxy's. Those before it may be forged."""
    api.parts.settings.trusted_proxies = proxies
    with api.http() as client:
        headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
        answer = client.post("/v1/executions/none/cancel", headers=headers)
    is_secure = "Strict-Transport-Security" in answer.headers
    assert is_secure == (address == "6.6.6.6")
    assert api.call(_latest_address(api)) == address


# browsers


def test_all_addresses_of_a_network_share_one_limit(api: Api) -> None:
    """A home network with IPv6 has any number of addresses, all in one /64."""
    declared = manifest(endpoint={"timeout": 5, "public": ["/x"]})
    api.parts.catalog = Catalog()
    api.parts.catalog.put(msgspec.structs.replace(RELEASE, app=None, manifest=declared))
    api.parts.settings.change({"trusted_proxies": ["127.0.0.1"], "key_requests_per_s": 0.1})
    with api.http() as client:
        codes = [
            client.get("/v1/services/svc/app/x", headers={"X-Forwarded-For": each}).status_code
            for each in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        ]
    assert codes == [404, 429, 404]


def test_every_answer_has_the_security_headers(api: Api) -> None:
    """Even an error before any route was found. No header names the server."""
    with api.http() as client:
        for path in ("/v1/executions", "/nothing/here", "/health"):
            headers = client.get(path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "Server" not in headers and "Strict-Transport-Security" not in headers


HTTPS = {"Origin": "https://app.example.com"}
ASKING = {**HTTPS, "Access-Control-Request-Method": "POST"}


def test_pages_of_other_origins_are_not_allowed(api: Api) -> None:
    """No answer has a CORS header unless an admin names the origin."""
    with api.http() as client:
        for answer in (
            client.get("/v1/executions", headers=HTTPS),
            client.options("/v1/executions", headers=ASKING),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_of_named_origins_are_allowed(api: Api) -> None:
    """With credentials, in the preflight and in the answer, even if it is an error."""
    api.parts.settings.cors_origins = ("https://app.example.com",)
    with api.http() as client:
        first = client.options("/v1/flows/x", headers=ASKING)
        assert first.status_code == 204
        assert "POST" in first.headers["Access-Control-Allow-Methods"]
        assert "authorization" in first.headers["Access-Control-Allow-Headers"]
        for answer in (
            first,
            client.get("/v1/executions", headers=HTTPS),
            client.get("/v1/executions", headers={**HTTPS, "Authorization": "Bearer no"}),
            client.get("/nothing", headers=HTTPS),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert "Origin" in answer.headers["Vary"]
        other = client.get("/v1/executions", headers={"Origin": "https://app.example.com.evil.org"})
        assert "Access-Control-Allow-Origin" not in other.headers
        assert other.headers["Vary"] == "Origin"


def test_all_origins_are_allowed_only_without_credentials(api: Api) -> None:
    """Otherwise any page could send the user's cookie."""
    api.parts.settings.cors_origins = ("*",)
    with api.http() as client:
        answer = client.get("/v1/executions", headers=HTTPS)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
