"""Services' own endpoints as the control plane asks them: real HTTP to a stranger, no Ray."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import msgspec
import pytest

from koco.control.services import endpoint_client as forwarding
from koco.control.services import endpoint_headers
from koco.control.services.endpoint_client import Call, Endpoints, Request
from koco.control.services.endpoint_messages import Order
from koco.errors import EndpointError, HandlerRefusal, InputsError, TimedOutError
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.sdk.endpoint import place, signing
from koco.store.model import Release
from tests.support.http_server import QuietServer
from tests.support.releases import manifest

RELEASE = Release(
    service="svc",
    number=1,
    status="live",
    bundle="",
    fingerprint="",
    manifest=manifest(endpoint={"timeout": 5}),
    flows=(),
    created="",
    by="",
    app=AppHandlers(locks=("a",), leases=("a",)),
)


class Stranger:
    """What answers in place of a service: a kind, and a body of any sort."""

    def __init__(self) -> None:
        self.kind: str | None = None
        self.body = b""
        #: How many bytes it announces that do not come.
        self.missing = 0
        self.headers: dict[str, str] = {}
        #: What it says beside that.
        self.answered: dict[str, str] = {}
        self.status = 200
        #: How many requests Serve's proxy answers in its place.
        self.unknown = 0
        self.wait_s = 0.0


class ServeOfOnes:
    """Where Serve is."""

    def __init__(self, url: str, stranger: Stranger) -> None:
        self.url = url
        self.stranger = stranger

    async def wait_until_up(self, service: str, release: int) -> None: ...

    def is_coming(self, service: str, release: int) -> bool:
        return self.stranger.wait_s > 0

    async def is_routed(self, service: str, release: int, *, proxy: Any) -> bool:
        return self.stranger.unknown == 0

    async def base(self, *, anew: bool = False) -> str:
        return self.url


Ask = Callable[[Callable[[Endpoints], Any]], Any]


@pytest.fixture
def stranger() -> Stranger:
    return Stranger()


@pytest.fixture
def ask(stranger: Stranger) -> Iterator[Ask]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stranger.headers = dict(self.headers)
            time.sleep(stranger.wait_s)
            if stranger.unknown:
                stranger.unknown -= 1
                told = f"Path '{self.path}' not found. Ping http://.../-/routes".encode()
                self.send_response(404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)
                return
            self.send_response(stranger.status)
            if stranger.kind is not None:
                self.send_header("X-Koco-Answer", stranger.kind)
            self.send_header("Vary", "Accept")
            self.send_header("Vary", "Origin")
            for name, value in stranger.answered.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(stranger.body) + stranger.missing))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(stranger.body)
            self.close_connection = bool(stranger.missing)

        do_GET = do_HEAD = do_POST  # noqa: N815 - the names that http.server wants

        def log_message(self, *_: Any) -> None: ...

    server = QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def run(asking: Callable[[Endpoints], Any]) -> Any:
        async def main() -> Any:
            serve: Any = ServeOfOnes(f"http://127.0.0.1:{server.server_port}", stranger)
            endpoints = Endpoints(serve, secret=b"s" * 32)
            try:
                return await asking(endpoints)
            finally:
                if endpoints._connections is not None:
                    await endpoints._connections.aclose()

        return asyncio.run(main())

    yield run
    server.shutdown()
    server.server_close()


def enter(endpoints: Endpoints) -> Any:
    return endpoints.enter(RELEASE, Call("/"), inputs={}, user="ada")


#: What is no messages by field.
ERRORS = (b"5", b"null", b"[]", b'"x"', b'{"topic": "No."}', b'{"topic": [5]}', b'{"topic": [[]]}')


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *[("launch", body) for body in (b"nope", b"[]", b"{}", b"", b"\xff", b"[" * 100_000)],
        *[("launch", b'{"entrypoint": 5, "inputs": {}}'), ("launch", b'{"entrypoint": "m:f"}')],
        *[("errors", body) for body in (b"nope", b"[1]", b"{}", b'{"error": 5}')],
        *[("errors", b'{"error": {}, "errors": %b}' % body) for body in ERRORS],
        *[("failure", body) for body in (b"nope", b"[]", b"{}", b'{"message": 1}')],
        *[("value", b"{}"), ("strange", b"{}")],
        ("launch", b'{"entrypoint": "m:f", "inputs": {"a": [%b1]}}' % (b"1," * 300_000)),
        ("errors", b'{"errors": {%b"a": ["m"]}}' % b"".join(b'"%d": [],' % n for n in range(2000))),
        ("errors", b'{"errors": {"a": [%b"m"]}}' % (b'"m",' * 2000)),
    ],
)
def test_an_invalid_answer_is_the_endpoints_fault(
    ask: Ask, stranger: Stranger, kind: str, body: bytes
) -> None:
    """Whatever an author's route sends in koco's name: 502, not an error of koco."""
    stranger.kind, stranger.body = kind, body
    with pytest.raises(EndpointError) as caught:
        ask(enter)
    assert "svc" in caught.value.message


@pytest.mark.parametrize("body", [b"5", b'{"form": {"not": "a list"}}', b'{"form": [1]}', b"{"])
def test_an_invalid_form_is_the_endpoints_fault(ask: Ask, stranger: Stranger, body: bytes) -> None:
    """The form of a lock, and the result of a lease."""
    stranger.kind, stranger.body = "form", body
    asked: dict[str, Any] = {"data": 1, "fid": "f", "user": "ada"}
    with pytest.raises(EndpointError):
        ask(lambda endpoints: endpoints.lock_form(RELEASE, "a", **asked))
    stranger.kind, stranger.body = "value", b'{"value": 1, "moments": 5}'
    with pytest.raises(EndpointError):
        ask(lambda endpoints: endpoints.lease(RELEASE, "a", inputs=1, **asked))


def test_an_order_cannot_set_identity(ask: Ask, stranger: Stranger) -> None:
    """Fid, user, service and release are koco's. The rest of `about` is kept."""
    about = {"fid": "zz", "user": "admin", "release": 99, "service": "other", "summary": "S"}
    stranger.kind = "launch"
    stranger.body = json.dumps({"entrypoint": "m:f", "inputs": {}, "about": about}).encode()
    order = ask(enter)
    told = msgspec.to_builtins(order.about)
    assert told == {"summary": "S"}


def test_refused_inputs_are_reported_by_field(ask: Ask, stranger: Stranger) -> None:
    """As with koco's own forms."""
    stranger.kind = "errors"
    stranger.body = json.dumps(InputsError("Closed.", topic="No.").to_wire()).encode()
    with pytest.raises(InputsError) as caught:
        ask(enter)
    assert caught.value.errors["topic"] == ["No."]
    assert "Closed." in caught.value.message


@pytest.mark.parametrize(
    "error",
    [
        *({"code": each, "message": "x"} for each in ("method", "error", "endpoint", "store", "?")),
        *({"code": "too_many", "hint": [1], "detail": {}, "message": 5}, {}),
    ],
)
def test_an_endpoints_refusal_is_about_inputs_only(
    ask: Ask, stranger: Stranger, error: dict[str, Any]
) -> None:
    """Whatever it calls its error, the caller gets messages by field."""
    stranger.kind = "errors"
    names = {"self": ["a"], "message": ["b"], "errors": ["c"], "": ["d"]}
    stranger.body = json.dumps({"error": error, "errors": names}).encode()
    with pytest.raises(InputsError) as caught:
        ask(enter)
    assert caught.value.errors == names
    assert caught.value.http_status == 422


def test_an_incomplete_answer_is_the_endpoints_fault(ask: Ask, stranger: Stranger) -> None:
    """A replica that dies in the middle of an answer: 502, and nothing is launched."""
    stranger.kind, stranger.body, stranger.missing = "launch", b'{"entry', 100
    with pytest.raises(EndpointError, match="cannot be reached"):
        ask(enter)


def test_forwards_a_head_request_without_a_body(ask: Ask, stranger: Stranger) -> None:
    """It announces a length and ends at once. Repeated headers are kept."""
    stranger.body = b"hello"

    async def passing(endpoints: Endpoints) -> Any:
        passed = await endpoints.pass_through(RELEASE, Request("HEAD", "/x", headers={}), user="a")
        return dict(passed.headers), [part async for part in passed.body]

    headers, parts = ask(passing)
    assert (headers["content-length"], headers["vary"]) == ("5", "Accept, Origin")
    assert b"".join(parts) == b""


@pytest.mark.parametrize("dialect", ["", "kodosumi"])
def test_only_apps_in_kodosumis_dialect_launch_from_pages(
    ask: Ask, stranger: Stranger, dialect: str
) -> None:
    """A header alone, which a service may take over from elsewhere, launches nothing."""
    stranger.kind = "launch"
    stranger.body = json.dumps({"entrypoint": "m:f", "inputs": {}}).encode()
    described = FlowDescription(name="a", entrypoint="m:f", form=None, dialect=dialect)
    release = msgspec.structs.replace(RELEASE, flows=(described,))

    async def passing(endpoints: Endpoints) -> Any:
        passed = await endpoints.pass_through(release, Request("GET", "/x"), user="a")
        return passed if isinstance(passed, Order) else [part async for part in passed.body]

    found = ask(passing)
    assert (found == [stranger.body]) if not dialect else (found.entrypoint == "m:f")


def test_an_answer_without_a_body_announces_none(ask: Ask, stranger: Stranger) -> None:
    """Otherwise a client would take the next answer's head for the body."""
    stranger.status, stranger.body = 204, b""
    stranger.answered = {"X-Kept": "yes"}

    async def passing(endpoints: Endpoints) -> Any:
        passed = await endpoints.pass_through(RELEASE, Request("GET", "/x"), user="a")
        assert [part async for part in passed.body] in ([], [b""])
        return passed.headers

    headers = ask(passing)
    assert headers["x-kept"] == "yes"
    assert "content-length" not in headers


def passed(ask: Ask, headers: dict[str, str]) -> dict[str, str]:
    """Ask an author's route with headers of a caller's; return the answer's."""

    async def passing(endpoints: Endpoints) -> Any:
        request = Request("GET", "/x", headers=headers)
        passed = await endpoints.pass_through(RELEASE, request, user="ada")
        assert [part async for part in passed.body] in ([], [b""])
        return passed.headers

    answered: dict[str, str] = ask(passing)
    return answered


def test_only_koco_tells_a_service_who_calls(ask: Ask, stranger: Stranger) -> None:
    """No header of the caller does, in any spelling, nor those that Connection names."""
    sent = {
        **{"X-Koco-User": "bob", "x_koco_user": "bob", "X-KOCO-FID": "1", "Koco-Version": "9"},
        **{"X-Forwarded-For": "1", "x_forwarded_user": "bob", "Forwarded": "for=1", "Via": "1.1 x"},
        **{"Remote-User": "bob", "REMOTE_USER": "bob", "X-WebAuth-User": "bob", "X-Real-IP": "1"},
        **{"Authorization": "Bearer x", "Cookie": "a=b", "Proxy-Authorization": "Basic x"},
        **{"X-Auth-Request-User": "bob", "Idempotency-Key": "k", "X-Any": "koco_" + "a" * 32},
        **{"Connection": "close, X-Named, X-Koco-User", "X-Named": "1", "X-Mine": "1"},
    }
    passed(ask, sent)
    heard = {name.lower(): value for name, value in stranger.headers.items()}
    signed = {name for name in heard if name.startswith("x-koco-")}
    assert signed == signing.HEADERS
    assert bytes.fromhex(heard["x-koco-user"]) == b"ada"
    assert set(heard) - signed == {
        *("host", "connection", "x-mine"),
        *("accept", "accept-encoding", "user-agent"),  # httpx's own
    }
    assert heard["connection"] == "keep-alive"


def test_an_answer_affects_only_the_services_part_of_the_origin(
    ask: Ask, stranger: Stranger
) -> None:
    """No cookies, no logins, nothing for the whole origin; pages are sandboxed."""
    stranger.answered = {
        **{"Set-Cookie": "session=1", "Clear-Site-Data": '"*"', "WWW-Authenticate": "Basic"},
        **{"Strict-Transport-Security": "max-age=1", "Access-Control-Allow-Origin": "*"},
        **{"Access-Control-Allow-Credentials": "true", "Service-Worker-Allowed": "/"},
        **{"Koco-Version": "9", "X-Koco-Fid": "1", "Alt-Svc": 'h3=":1"', "NEL": "{}"},
        **{"Connection": "X-Named", "X-Named": "1", "X-Mine": "1", "X-Request-ID": "theirs"},
        **{"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "no"},
        # What a proxy that stands before us would obey.
        **{"X-Accel-Redirect": "/internal/passwd", "X-Sendfile": "/etc/passwd"},
        **{"X-Accel-Expires": "3600"},
    }
    answered = passed(ask, {})
    policy = answered.pop("content-security-policy")
    assert answered == {
        **{"vary": "Accept, Origin", "content-length": "0", "x-mine": "1"},
        "x-content-type-options": "nosniff",
    }
    assert policy.startswith("default-src 'none', sandbox ")
    assert "allow-same-origin" not in policy
    stranger.answered = {}
    assert passed(ask, {})["content-security-policy"].startswith("sandbox ")


@pytest.mark.parametrize("value", ["caf\xe9", "\xe2\x82\xac", "a, b"])
def test_forwards_headers_byte_for_byte(ask: Ask, stranger: Stranger, value: str) -> None:
    """Latin-1 and UTF-8 in a caller's header arrive as they were sent."""

    async def passing(endpoints: Endpoints) -> Any:
        request = Request("GET", "/x", headers={"X-Name": value})
        passed = await endpoints.pass_through(RELEASE, request, user="a")
        return [part async for part in passed.body]

    ask(passing)
    # As `http.server` reads them: in Latin-1, so that each byte is a character.
    assert {name.lower(): text for name, text in stranger.headers.items()}["x-name"] == value


# While Serve comes back: its proxy answers for an application that it does not know yet


def test_waits_for_a_proxy_that_does_not_know_the_application(ask: Ask, stranger: Stranger) -> None:
    """Its own 404 means that nothing has reached the service, which has that path."""
    stranger.kind, stranger.unknown = "launch", 3
    stranger.body = b'{"entrypoint": "m:f", "inputs": {}}'
    assert ask(enter).entrypoint == "m:f"
    stranger.kind, stranger.unknown = None, 2
    route = Request("GET", "/rates", headers={})
    assert ask(lambda each: each.pass_through(RELEASE, route, user="ada")).status == 200


def test_a_proxy_that_never_knows_it_is_an_error(
    ask: Ask, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not passed on as a 404, because the path may well exist."""
    monkeypatch.setattr(forwarding, "_ROUTE_S", 0.0)
    stranger.unknown = 1000
    with pytest.raises(EndpointError, match="svc is not up: Serve does not know it yet"):
        ask(enter)


def test_forwards_a_services_own_404(ask: Ask, stranger: Stranger) -> None:
    """Also one of plain text, like the proxy's."""
    stranger.status, stranger.body = 404, b"no such rate"
    stranger.answered = {"Content-Type": "text/plain"}
    route = Request("GET", "/rates/x", headers={})
    assert ask(lambda each: each.pass_through(RELEASE, route, user="ada")).status == 404


def test_an_endpoint_that_comes_up_has_its_own_error(ask: Ask, stranger: Stranger) -> None:
    """A longer timeout for its handlers would not help."""
    stranger.wait_s = 1
    release = msgspec.structs.replace(RELEASE, manifest=manifest(endpoint={"timeout": 0.2}))
    with pytest.raises(TimedOutError, match="svc is still coming up after") as caught:
        ask(lambda each: each.enter(release, Call("/"), inputs={}, user="ada"))
    assert "endpoint.timeout" not in str(caught.value.hint)


def test_a_handlers_own_refusal_keeps_its_status(stranger: Stranger, ask: Ask) -> None:
    """An `HTTPException` with 4xx is for the caller; any other one is a failure of the service."""
    said = {"type": "", "message": "already running", "traceback": ""}
    stranger.status, stranger.kind = 500, "failure"
    stranger.body = json.dumps({**said, "status": 409, "retry_after": "7"}).encode()
    with pytest.raises(HandlerRefusal, match=r"^already running$") as refused:
        ask(enter)
    assert (refused.value.http_status, refused.value.hint) == (409, None)
    assert refused.value.headers == {"Retry-After": "7"}
    for status in (0, 200, 302):
        stranger.body = json.dumps({**said, "status": status}).encode()
        with pytest.raises(EndpointError, match="already running"):
            ask(enter)
    stranger.body = json.dumps({**said, "status": 500}).encode()
    with pytest.raises(EndpointError, match="valid failure"):
        ask(enter)


@pytest.mark.parametrize("url", ["https://koco.example.com", "https://example.com/koco/"])
def test_a_redirect_to_our_own_url_is_a_path(url: str) -> None:
    """A caller may reach the control plane by another name; other redirects stay as they are."""
    prefix = "/koco" if url.endswith("/koco/") else ""

    def redirect(location: str) -> str:
        headers = httpx.Headers({"location": location})
        serve = "http://10.0.0.1:8000/koco/svc/1"
        return endpoint_headers.for_caller(headers, serve, RELEASE, url=url.rstrip("/"))["location"]

    base = place.base_of(url, "svc")
    assert redirect(f"{base}/a?b=1") == f"{prefix}/v1/services/svc/app/a?b=1"
    assert redirect(base) == f"{prefix}/v1/services/svc/app"
    for other in (f"{base}x/a", "https://elsewhere.example.com/v1/services/svc/app/a"):
        assert redirect(other) == other


def test_the_endpoint_learns_where_callers_see_it(stranger: Stranger, ask: Ask) -> None:
    """The control plane's own URL, whatever the caller's headers say."""

    async def look(endpoints: Endpoints) -> Any:
        endpoints._url = "https://koco.example.com"
        forged = {"X-Koco-Base": "https://evil.example.com", "Host": "evil.example.com"}
        request = Request("GET", "/x", headers=forged)
        return await endpoints.pass_through(RELEASE, request, user="ada")

    ask(look)
    sent = {name.lower(): value for name, value in stranger.headers.items()}
    assert sent[place.BASE] == "https://koco.example.com/v1/services/svc/app"
    assert sent["host"].startswith("127.0.0.1:")
