"""The client against a real HTTP server that breaks in every way a network does."""

import http.server
import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from koco import errors
from koco.client.client import Client
from koco.client.context_file import Context
from koco.client.exchange import bounded_body
from koco.client.http.pace import Pace
from tests.support.http_server import QuietServer

FID = "abcdefghijklmnop"


#: A list without anything.
NOTHING = {"items": [], "next": None}


def event(seq: int, kind: str = "stdout", payload: Any = None) -> bytes:
    body = {"ts": "2026-01-01T00:00:00.000000Z", "kind": kind, "payload": payload or f"line {seq}"}
    return (b'{"seq":%d,' % seq) + json.dumps(body, separators=(",", ":"))[1:].encode() + b"\n"


def end(seq: int, status: str = "finished") -> bytes:
    return event(seq, "status", {"status": status})


class Server:
    """A control plane made of handlers; `requests` are `(method, path, headers, body)`."""

    def __init__(self, handle: Callable[["Request"], None], port: int = 0) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(Request):
            def setup(self) -> None:
                super().setup()
                self.server_of_test = outer

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = handle_any  # noqa: N815

        self.http = QuietServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.port = self.http.server_address[1]

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, value: Any = None, **headers: str) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("X-Koco-Fid", FID)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def finish_pieces(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def drop(self) -> None:
        """Break the connection, as a killed process does."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handle: Callable[[Request], None], port: int = 0) -> Server:
        servers.append(Server(handle, port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def client_of(port: int, key: str = "koco_secret") -> Client:
    return Client(Context("test", f"http://127.0.0.1:{port}", key))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seqs(client: Client, **options: Any) -> list[int]:
    return [each["seq"] for each in client.events(FID, **options)]


def since_of(path: str) -> int:
    return int(path.partition("since=")[2].partition("&")[0])


def test_a_key_is_sent_as_a_bearer_token(serve: Any) -> None:
    """Each request carries the context's key."""
    server = serve(lambda request: request.answer(200, {"items": [], "next": None}))
    assert client_of(server.port).flows() == []
    assert server.requests[0][2]["Authorization"] == "Bearer koco_secret"


@contextmanager
def waiting(least_s: float, most_s: float) -> Iterator[None]:
    """Expect that so much time goes by, and that no more of it is chosen to be waited."""
    began, mine, sleep = time.monotonic(), threading.get_ident(), time.sleep
    slept: list[float] = []

    def counted(seconds: float) -> None:
        if threading.get_ident() == mine:
            slept.append(seconds)
        sleep(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", counted)
        yield
    assert time.monotonic() - began >= least_s
    assert sum(slept) < most_s


def test_a_missing_server_is_reported_within_two_seconds() -> None:
    """A refused connection at first contact is unreachable (exit 3), soon, naming the URL."""
    port = free_port()
    refused = pytest.raises(errors.UnreachableError, match=f"127.0.0.1:{port}")
    with waiting(0.5, 1.5), refused as caught:
        client_of(port).status()
    assert "koco up" in (caught.value.hint or "")


def test_nothing_there_ends_a_follower_soon() -> None:
    """`koco logs -f` without a control plane does not hang for a minute."""
    with waiting(0.0, 1.5), pytest.raises(errors.UnreachableError):
        seqs(client_of(free_port()), follow=True)


@pytest.mark.parametrize(
    ("code", "wire", "kind"),
    [
        (
            401,
            {"error": {"code": "unauthorized", "message": "m", "hint": "h"}},
            errors.UnauthorizedError,
        ),
        (
            403,
            {"error": {"code": "not_allowed", "message": "m", "hint": "h"}},
            errors.NotAllowedError,
        ),
        (404, {"error": {"code": "not_found", "message": "m", "hint": "h"}}, errors.NotFoundError),
        (409, {"error": {"code": "conflict", "message": "m", "hint": "h"}}, errors.ConflictError),
        (500, {"error": {"code": "error", "message": "m", "hint": "h"}}, errors.KocoError),
    ],
)
def test_a_refusal_is_the_error_that_was_named(serve: Any, code: int, wire: Any, kind: Any) -> None:
    """The API's error arrives with its message and hint."""
    server = serve(lambda request: request.answer(code, wire))
    with pytest.raises(kind) as caught:
        client_of(server.port).status()
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("m", "h")


def test_refused_inputs_are_reported_by_field(serve: Any) -> None:
    """The 422 of a launch becomes an InputsError with messages per field."""
    wire = errors.InputsError(topic="Please give me a topic.").to_wire()
    server = serve(lambda request: request.answer(422, wire))
    with pytest.raises(errors.InputsError) as caught:
        client_of(server.port).launch("greet", {})
    assert caught.value.errors == {"topic": ["Please give me a topic."]}


def test_reports_a_server_that_is_not_a_control_plane(serve: Any) -> None:
    """A page of HTML is an error that asks about the URL, not a traceback."""

    def html(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "6")
        request.end_headers()
        request.wfile.write(b"<html>")

    with pytest.raises(errors.KocoError, match="not as a control plane"):
        client_of(serve(html).port).status()


def test_repeats_a_request_if_the_answer_breaks(serve: Any) -> None:
    """A GET whose connection drops is repeated: it changes nothing."""

    def flaky(request: Request) -> None:
        if len(server.requests) < 3:
            request.drop()
        else:
            request.answer(200, {"status": "ok"})

    server = serve(flaky)
    assert client_of(server.port).health() == {"status": "ok"}


def test_a_launch_that_breaks_is_never_sent_twice(serve: Any) -> None:
    """It may have been accepted: the hint says where to look."""
    server = serve(lambda request: request.drop())
    with pytest.raises(errors.UnreachableError) as caught:
        client_of(server.port).launch("greet", {})
    assert len(server.requests) == 1
    assert "koco ps" in (caught.value.hint or "")


def test_a_launch_with_a_key_is_sent_again_with_it(serve: Any) -> None:
    """The same key gives the same fid, so that a broken connection costs nothing."""

    def flaky(request: Request) -> None:
        if len(server.requests) < 3:
            request.drop()
        else:
            request.answer(201, {"result": FID})

    server = serve(flaky)
    assert client_of(server.port).launch("greet", {"a": 1}, key="k-1") == FID
    sent = [(headers["Idempotency-Key"], body) for _, _, headers, body in server.requests]
    assert sent == [("k-1", b'{"a":1}')] * 3


def test_a_launch_with_a_key_survives_a_restart(serve: Any) -> None:
    """Its connection breaks, the port refuses for two seconds: it is launched in the end."""
    broke = threading.Event()

    def first(request: Request) -> None:
        request.drop()
        broke.set()

    port = free_port()
    one = serve(first, port)

    def restart() -> None:
        broke.wait()
        one.close()
        time.sleep(2)
        serve(lambda request: request.answer(201, {"result": FID}), port)

    thread = threading.Thread(target=restart)
    thread.start()
    assert client_of(port).launch("greet", {}, key="k-1") == FID
    thread.join()


def test_503_is_waited_out(serve: Any) -> None:
    """The request is repeated while the control plane starts."""

    def starting(request: Request) -> None:
        ready = len(server.requests) > 2
        request.answer(200 if ready else 503, NOTHING if ready else None)

    server = serve(starting)
    assert client_of(server.port).flows() == []


def test_degraded_health_is_an_answer(serve: Any) -> None:
    """`/health` answers 503 if executions cannot run: this is reported at once."""
    server = serve(lambda request: request.answer(503, {"status": "degraded"}))
    assert client_of(server.port).health() == {"status": "degraded"}
    assert len(server.requests) == 1


def uploads(held: int, size: int) -> Callable[[Request], None]:
    """Return what takes an upload as a control plane does that has so much of it."""
    at = [held]

    def handle(request: Request) -> None:
        if request.command == "PATCH":
            assert request.headers["Upload-Offset"] == str(at[0])
            at[0] += int(request.headers["Content-Length"])
        is_complete = "?1" if at[0] == size else "?0"
        request.answer(204, Upload_Offset=str(at[0]), Upload_Complete=is_complete)

    return handle


def test_a_bundle_is_streamed_from_its_file(serve: Any, tmp_path: Any) -> None:
    """It is sent with its length, whole, and the progress adds up."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"z" * 1_000_000)
    server = serve(uploads(0, 1_000_000))
    told: list[int] = []
    client_of(server.port).put_bundle("x", path, advance=told.append)
    _, url, headers, body = server.requests[-1]
    assert (url, body) == ("/v1/bundles/x", path.read_bytes())
    assert headers["Upload-Length"] == "1000000"
    assert "Transfer-Encoding" not in headers
    assert sum(told) == 1_000_000


def test_resumes_the_upload_of_a_bundle(serve: Any, tmp_path: Any) -> None:
    """What an earlier command delivered is not sent again."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"abc" * 1000)
    server = serve(uploads(2000, 3000))
    client_of(server.port).put_bundle("x", path)
    assert [body for *_, body in server.requests] == [b"", path.read_bytes()[2000:]]


@pytest.mark.parametrize("is_there", [True, False])
def test_head_tells_whether_a_bundle_exists(serve: Any, is_there: bool) -> None:
    """Only a complete upload counts."""
    server = serve(uploads(5, 5 if is_there else 6))
    assert client_of(server.port).has_bundle("x") is is_there


def test_a_forbidden_head_is_not_a_missing_bundle(serve: Any) -> None:
    """Could not look is never nothing there."""
    server = serve(lambda request: request.answer(403))
    with pytest.raises(errors.NotAllowedError):
        client_of(server.port).has_bundle("x")


@pytest.mark.parametrize("fid", ["", "..", "../flows"])
def test_a_fid_cannot_be_another_path(fid: str) -> None:
    """An empty or dotted name is refused before any request."""
    with pytest.raises(errors.UsageError):
        client_of(1).execution(fid)


def test_a_dash_is_the_latest(serve: Any) -> None:
    """`-` on the command line is `latest` in the API."""
    server = serve(lambda request: request.answer(200, {"fid": FID, "status": "finished"}))
    client_of(server.port).result("-")
    assert server.requests[0][1] == "/v1/executions/latest/result"


def test_a_follower_goes_on_after_each_break_without_loss_or_repetition(serve: Any) -> None:
    """Cut in the middle of a line, many times: each event once, in order."""
    total = 200

    def cut(request: Request) -> None:
        request.begin()
        since = since_of(request.path)
        lines = [event(n) if n < total else end(n) for n in range(since + 1, total + 1)]
        data = b"".join(lines)
        cut_at = len(b"".join(lines[:30])) + 17  # in the middle of a line
        if len(data) <= cut_at:
            request.piece(data)
            request.finish_pieces()
        else:
            request.piece(data[:cut_at])
            request.drop()

    server = serve(cut)
    assert seqs(client_of(server.port), follow=True) == list(range(1, total + 1))
    assert len(server.requests) > 5


def test_a_clean_end_without_the_final_status_is_a_break(serve: Any) -> None:
    """A server that shuts down properly has not ended the execution."""

    def part(request: Request) -> None:
        if not request.path.partition("?")[0].endswith("/events"):
            request.answer(200, {"status": "running", "last_seq": 9})
            return
        request.begin()
        since = since_of(request.path)
        request.piece(event(since + 1) if since < 3 else end(since + 1))
        request.finish_pieces()

    assert seqs(client_of(serve(part).port), follow=True) == [1, 2, 3, 4]


def test_a_restart_is_invisible(serve: Any) -> None:
    """The server goes away, its port refuses, another comes up: the stream goes on."""
    first_done = threading.Event()

    def first(request: Request) -> None:
        request.begin()
        request.piece(event(1) + event(2))
        first_done.set()
        time.sleep(0.1)
        request.drop()

    def second(request: Request) -> None:
        request.begin()
        request.piece(event(3) + end(4))
        request.finish_pieces()

    port = free_port()
    one = serve(first, port)

    def restart() -> None:
        first_done.wait()
        one.close()
        time.sleep(2)
        serve(second, port)

    thread = threading.Thread(target=restart)
    thread.start()
    assert seqs(client_of(port), follow=True) == [1, 2, 3, 4]
    thread.join()


def test_events_that_come_again_are_dropped(serve: Any) -> None:
    """Should a server begin too early, the reader sees nothing twice."""

    def early(request: Request) -> None:
        request.begin()
        if since_of(request.path) == 0:
            request.piece(event(1) + event(2))
            request.drop()
        else:
            request.piece(event(1) + event(2) + event(3) + end(4))
            request.finish_pieces()

    assert seqs(client_of(serve(early).port), follow=True) == [1, 2, 3, 4]


def test_latest_is_pinned_once_it_has_answered(serve: Any) -> None:
    """After a break the same execution is followed, although another is now the latest."""

    def once(request: Request) -> None:
        request.begin()
        if len(server.requests) == 1:
            request.piece(event(1))
            request.drop()
        else:
            request.piece(end(2))
            request.finish_pieces()

    server = serve(once)
    stream = client_of(server.port).stream("-", follow=True)
    assert sum(map(len, stream)) == 2
    assert server.requests[0][1].startswith("/v1/executions/latest/")
    assert server.requests[1][1].startswith(f"/v1/executions/{FID}/")
    assert (stream.fid, stream.last_seq, stream.status) == (FID, 2, "finished")


def test_requests_the_tail_once(serve: Any) -> None:
    """After a break the last seq counts, not the tail."""

    def once(request: Request) -> None:
        request.begin()
        if len(server.requests) == 1:
            request.piece(event(90))
            request.drop()
        else:
            request.piece(end(91))
            request.finish_pieces()

    server = serve(once)
    assert seqs(client_of(server.port), follow=True, tail=1) == [90, 91]
    assert "tail=1" in server.requests[0][1]
    assert "tail" not in server.requests[1][1]
    assert since_of(server.requests[1][1]) == 90


def test_heartbeats_are_not_events(serve: Any) -> None:
    """Blank lines keep the connection, and are not shown."""

    def beats(request: Request) -> None:
        request.begin()
        for data in (b"\n", event(1), b"\n", b"\n", end(2)):
            request.piece(data)
        request.finish_pieces()

    assert seqs(client_of(serve(beats).port), follow=True) == [1, 2]


def test_a_follower_past_the_end_ends(serve: Any) -> None:
    """Where `since` is beyond the last event, the execution's own status ends it."""

    def past(request: Request) -> None:
        if request.path.partition("?")[0].endswith("/events"):
            request.begin()
            request.finish_pieces()
        else:
            request.answer(200, {"status": "cancelled", "last_seq": 7})

    stream = client_of(serve(past).port).stream(FID, since=100, follow=True)
    assert list(stream) == []
    assert stream.status == "cancelled"


def test_a_follower_gives_up_after_its_patience(serve: Any) -> None:
    """A control plane that stays away is unreachable, after that time and no later."""

    def once(request: Request) -> None:
        request.begin()
        request.piece(event(1))
        request.drop()

    server = serve(once)
    stream = client_of(server.port).stream(FID, follow=True, patience_s=1.5)
    iterator = iter(stream)
    assert len(next(iterator)) == 1
    server.close()
    with waiting(0.0, 2.0), pytest.raises(errors.UnreachableError):
        list(iterator)


def test_a_server_error_does_not_end_a_stream(serve: Any) -> None:
    """500 and 503 while it restarts are tried again."""

    def ailing(request: Request) -> None:
        if len(server.requests) < 3:
            request.answer(
                [503, 500][len(server.requests) - 1], {"error": {"code": "error", "message": "no"}}
            )
            return
        request.begin()
        request.piece(end(1))
        request.finish_pieces()

    server = serve(ailing)
    assert seqs(client_of(server.port), follow=True) == [1]


def test_a_refusal_ends_a_follower_at_once(serve: Any) -> None:
    """A wrong key does not get better by asking again."""
    server = serve(lambda request: request.answer(401))
    with pytest.raises(errors.NotAllowedError):
        seqs(client_of(server.port), follow=True)
    assert len(server.requests) == 1


def test_a_consumer_that_stops_closes_the_connection(serve: Any) -> None:
    """Leaving the loop leaves nothing open."""
    gone = threading.Event()

    def endless(request: Request) -> None:
        request.begin()
        try:
            for n in range(1, 100_000):
                request.piece(event(n))
                time.sleep(0.001)
        except OSError:
            gone.set()

    events = client_of(serve(endless).port).events(FID, follow=True)
    next(events)
    events.close()
    assert gone.wait(60)


def test_loopback_never_uses_a_proxy(serve: Any, monkeypatch: Any) -> None:
    """HTTP_PROXY cannot reach this machine's loopback."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve(lambda request: request.answer(200, {"status": "ok"}))
    assert client_of(server.port).health() == {"status": "ok"}


@pytest.mark.parametrize("key", ["koco_s3cret\n", "koco_s3cret\r\nX-Evil: 1", "koco_s3cret\u00fc"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(serve: Any, key: str) -> None:
    """A secret with a newline at its end is common in CI, and its log is read by many."""
    server = serve(lambda request: request.answer(200, {"status": "ok"}))
    with pytest.raises(errors.UsageError) as caught:
        client_of(server.port, key).status()
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "name", "value"),
    [
        ("http://koco.invalid", "ALL_PROXY", "socks5://127.0.0.1:9"),
        ("http://koco.invalid", "HTTP_PROXY", "foo://127.0.0.1:9"),
        ("https://koco.invalid", "SSL_CERT_FILE", "/no/such/file.pem"),
    ],
)
def test_an_environment_that_cannot_work_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, url: str, name: str, value: str
) -> None:
    """An unusable proxy or certificate is the user's problem, not a bug in koco."""
    monkeypatch.setenv(name, value)
    with pytest.raises(errors.UsageError, match=url) as caught:
        Client(Context("test", url, "k"))
    assert "SSL_CERT_FILE" in (caught.value.hint or "")


def test_lines_are_whole_whatever_the_pieces() -> None:
    """Cut anywhere, the same lines come out, and an incomplete one is an error."""
    data = b"one\n\ntwo\nthree\nhal"
    for size in range(1, len(data) + 1):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        found: list[bytes] = []
        with pytest.raises(errors.UnreachableError, match="in the middle of a line"):
            for lines in bounded_body.lines(pieces, Pace(1)):
                found += lines
        assert found == [b"one", b"two", b"three"]
        assert list(bounded_body.lines([b"one\n"], Pace(1))) == [[b"one"]]


def test_a_stream_cut_within_a_line_is_completed_without_following(serve: Any) -> None:
    """A proxy may end an answer properly although it has only a part of it."""
    events = b"".join([event(1), event(2), end(3)])

    def cut(request: Request) -> None:
        request.begin()
        since = since_of(request.path)
        request.piece(events[: len(event(1)) + 9] if since == 0 else event(2) + end(3))
        request.finish_pieces()

    server = serve(cut)
    assert seqs(client_of(server.port), follow=False) == [1, 2, 3]
    assert len(server.requests) == 2


def test_a_kind_is_never_taken_from_a_payload() -> None:
    """A line of output that looks like an event's end is output."""
    line = event(5, "stdout", 'x","kind":"status","payload":{"status":"finished"}')
    assert client_of(1).stream(FID).read_kind(line) == "stdout"


def test_a_long_event_costs_no_more_than_its_size(serve: Any) -> None:
    """20 MB in one line arrive in a second or two."""
    big = event(1, payload="x" * 20_000_000)

    def send(request: Request) -> None:
        request.begin()
        for at in range(0, len(big), 65536):
            request.piece(big[at : at + 65536])
        request.piece(end(2))
        request.finish_pieces()

    began = time.process_time()
    assert seqs(client_of(serve(send).port), follow=True) == [1, 2]
    assert time.process_time() - began < 5


def test_messages_are_gathered_one_by_one() -> None:
    """An endpoint adds them as its checks find them; without any, there is nothing to raise."""
    error = errors.InputsError()
    assert not error.has_errors()
    assert not error
    error.add(topic="too short", self="odd")
    error.add(topic=["too dull"], _global_="Closed.")
    assert error
    by_field = {"topic": ["too short", "too dull"], "self": ["odd"], "_global_": ["Closed."]}
    assert error.errors == by_field
    assert str(error) == "topic: too short\ntopic: too dull\nself: odd\nClosed."
    for again in (errors.from_wire(error.to_wire()), pickle.loads(pickle.dumps(error))):
        assert (again.errors, str(again)) == (error.errors, str(error))
