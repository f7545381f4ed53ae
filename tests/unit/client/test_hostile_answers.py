"""Attacks by hostile servers: however much one sends, and however slowly, it costs little.

The server here says whatever a test has it say, byte by byte if need be. What a command may take
is measured from outside: its memory by what the kernel counted, its time by the clock.
"""

import contextlib
import gzip
import itertools
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from koco.client.client import Client
from koco.client.context_file import Context
from koco.client.exchange import bounded_body
from koco.client.exchange.memory_budget import TooLargeError
from koco.client.http.pace import Pace
from koco.client.transport import Transport
from koco.errors import AnswerError, KocoError, UnreachableError
from tests.support.certificates import make_certificate
from tests.support.driver import calm_s
from tests.support.memory_plane import TS
from tests.unit import conftest

#: What a command takes that does nothing, and what a hostile answer may cost besides (MB).
USUAL_MB, MORE_MB = 40, 120

#: What a server says to a request for a path, piece by piece.
Says = Callable[[str], Iterable[bytes]]

#: Runs the command line, and writes the most memory that it had (kB) into a file.
MEASURED = """
import re, sys
from pathlib import Path
from koco.cli.main import run
code = run(sys.argv[2:])
status = Path("/proc/self/status").read_text()
Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
sys.exit(code)
"""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Ran:
    """What a command did, and the most memory that it had (MB)."""

    code: int
    out: bytes
    err: str
    took_s: float
    most_mb: float


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that has a server say something; it returns the server's URL."""
    listeners: list[socket.socket] = []

    def start(says: Says, tls: ssl.SSLContext | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        if tls is not None:
            listener = tls.wrap_socket(listener, server_side=True)
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, says), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        # A thread that waits in `accept` would go on there by number once a signal has interrupted
        # it, perhaps on the next test's listener.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, says: Says) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, says), daemon=True).start()


def _answer(connection: socket.socket, says: Says) -> None:
    with connection, contextlib.suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := connection.recv(65536)):
                return
            head += piece
        for piece in says(head.split()[1].decode()):
            connection.sendall(piece)


def answer(value: Any, *headers: str, status: int = 200) -> bytes:
    """Return a whole answer of JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run(url: str, *args: str, home: Path) -> Ran:
    """Run a command against a server; it has two minutes and a half."""
    env = {**os.environ, "KOCO_URL": url, "KOCO_KEY": "k", "KOCO_HOME": str(home)}
    began = time.monotonic()
    with (home / "out").open("w+b") as out, (home / "err").open("w+b") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", MEASURED, str(home / "most"), *args],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            cwd=home,
        )
        stop = threading.Timer(150, process.kill)
        stop.start()
        process.wait()
        stop.cancel()
        out.seek(0)
        err.seek(0)
        took_s = time.monotonic() - began
        most_mb = int((home / "most").read_text()) / 1024
        return Ran(process.returncode, out.read(1 << 20), err.read().decode(), took_s, most_mb)


Asks = Callable[..., conftest.Ran]


@pytest.fixture
def asks(cli: conftest.Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Return a function that runs a command against a server in this process.

    It takes a tenth of the time, if memory is not measured.
    """

    def ran(url: str, *args: str) -> conftest.Ran:
        for name, value in (("URL", url), ("KEY", "k"), ("HOME", str(tmp_path))):
            monkeypatch.setenv(f"KOCO_{name}", value)
        monkeypatch.chdir(tmp_path)
        return cli(*args)

    return ran


def again(piece: bytes, head: bytes = ENDLESS) -> Says:
    """Return what says a piece again and again, with no end."""
    return lambda _: itertools.chain([head], itertools.repeat(piece))


# sizes

HUGE = {
    "a long answer": again(b'{"items": [' + b"1," * 500_000),
    "a string without end": again(b"x" * 65536, ENDLESS + b'{"items": ["'),
    "an answer that says it is long": again(
        b"x" * 65536, b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"
    ),
    "many small things": lambda _: [answer(b'{"items":[' + b'{"a":1},' * 3_900_000 + b"1]}")],
    "lists in lists": lambda _: [answer(b"[" * 30_000_000)],
    "a bomb": lambda _: [
        answer(gzip.compress(b"0" * 200_000_000, 1), "Content-Encoding: gzip"),
    ],
    "a head without end": again(b"X-More: " + b"x" * 60_000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
}


@pytest.mark.parametrize("says", HUGE.values(), ids=HUGE)
def test_answers_are_limited_in_memory(serve: Any, tmp_path: Path, says: Says) -> None:
    """One error that names the server, with exit code 3."""
    url = serve(says)
    ran = run(url, "ps", home=tmp_path)
    assert (ran.code, ran.out) == (3, b""), ran
    assert ran.err.startswith("error: ") and url in ran.err and "bug" not in ran.err
    assert ran.most_mb < USUAL_MB + MORE_MB, ran


STREAMS = {
    "a line without end": again(b"x" * 65536),
    # Compressed only when it is asked for: each worker imports this file.
    "a bomb": lambda _: itertools.chain(
        [ENDLESS[:-2] + b"Content-Encoding: gzip\r\n\r\n"],
        itertools.repeat(gzip.compress(b"0" * 100_000_000)),
    ),
    "an event of many small things": lambda _: [
        ENDLESS,
        b'{"seq":1,"ts":"%b","kind":"result","payload":[' % TS.encode(),
        b"[]," * 15_000_000,
        b"1]}\n",
    ],
}


@pytest.mark.parametrize("says", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("options", [[], ["-f"]])
def test_streams_are_limited_in_memory(
    serve: Any, tmp_path: Path, says: Says, options: list[str]
) -> None:
    """A line has a limit, and an event that would take gigabytes to draw is not drawn."""
    url = serve(says)
    ran = run(url, "logs", "fid", *options, home=tmp_path)
    assert (ran.code, ran.out) == (3, b""), ran
    assert ran.err.startswith("error: ") and url in ran.err and "bug" not in ran.err
    assert ran.most_mb < USUAL_MB + MORE_MB, ran


def test_a_line_in_tiny_pieces_takes_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an object for each of them."""
    import tracemalloc

    monkeypatch.setattr(bounded_body, "LINE_BYTES", 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            list(bounded_body.lines((bytes([65]) for _ in itertools.count()), Pace(1)))
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


FID = "abcdefghijklmnop"
FILE = {"path": "out/a", "size_bytes": 3, "sha256": "a" * 64, "created": TS, "by": "x"}
EXECUTION = {
    **{"fid": FID, "flow": "a/b", "service": "a", "release": 1, "status": "finished"},
    **{"created": TS, "started": TS, "finished": TS, "user": "x", "tags": [], "inputs": {}},
    **{"last_seq": 1, "error": None},
}


def with_file(content: Iterable[bytes], **facts: Any) -> Says:
    """Return what an execution with one file says; of the content comes what is given."""

    def says(path: str) -> Iterable[bytes]:
        if path.endswith("/files/out/a"):
            return itertools.chain([ENDLESS[:-2], f'ETag: "{"a" * 64}"\r\n\r\n'.encode()], content)
        if "/files" in path:
            return [answer({"items": [{**FILE, **facts}], "next": None})]
        return [answer(EXECUTION)]

    return says


@pytest.mark.parametrize("to", ["got", "-"])
def test_refuses_a_file_that_is_longer_than_announced(
    serve: Any, asks: Asks, tmp_path: Path, to: str
) -> None:
    """What comes beyond that is neither written nor waited for."""
    url = serve(with_file(itertools.repeat(b"x" * 65536)))
    ran = asks(url, "files", "get", FID, "out/a", "--to", to)
    assert ran.code == 3
    assert f"{url} sends more than it announced: out/a has 3 bytes" in ran.err
    assert len(ran.out) <= 3
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_file()]


@pytest.mark.parametrize("told", [{"sha256": "../../../x"}, {"size_bytes": -1}, {"path": 3}])
def test_a_files_hash_must_be_valid(serve: Any, asks: Asks, told: dict[str, Any]) -> None:
    """The name of a partial download is made from the server's hash."""
    url = serve(with_file([b"abc"], **told))
    ran = asks(url, "files", "get", FID, "out/a", "--to", "got")
    assert ran.code == 3 and f"`items[0].{next(iter(told))}` is missing or wrong" in ran.err


def test_reports_a_download_without_space(serve: Any, tmp_path: Path) -> None:
    """Exit code 74 with the system's message; the downloaded part is kept for the next attempt."""
    url = serve(with_file([b"x" * 100_000], size_bytes=100_000))
    env = {**os.environ, "KOCO_URL": url, "KOCO_KEY": "k", "KOCO_HOME": str(tmp_path)}
    script = 'ulimit -f 8; exec "$0" -m koco files get "$1" out/a --to got'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, FID],
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (74, ""), done
    assert re.match(r"error: cannot write \S*a: File too large\nhint: ", done.stderr), done


def test_a_list_has_an_end(serve: Any, asks: Asks) -> None:
    """A cursor that leads nowhere is not followed for ever."""
    url = serve(lambda _: [answer({"items": [], "next": "x"})])
    for args in (["flows"], ["ps", "--limit", "3"]):
        ran = asks(url, *args)
        assert ran.code == 3 and f"{url} returns a list that has no end" in ran.err


# times


def test_heads_without_end_are_not_waited_for(serve: Any) -> None:
    """A server may send interim answers, but not without end."""
    url = serve(again(b"HTTP/1.1 103 Early Hints\r\n\r\n", b""))
    with pytest.raises(UnreachableError, match="does not answer in time"):
        Transport(Context("x", url, "k")).call("GET", "/v1/x", timeout_s=0.5)


SLOW = {
    "a head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
    "a body": ENDLESS + b'{"items": "' + b"x" * 10_000,
    "the size of a chunk": CHUNKED + b"\r\n1;" + b"x" * 10_000,
}


def slowly(text: bytes, *, at_once: int = 0) -> Says:
    """Return what says a text a byte at a time."""

    def says(_: str) -> Iterator[bytes]:
        yield text[:at_once]
        for byte in text[at_once:]:
            time.sleep(0.01)
            yield bytes([byte])

    return says


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_a_byte_at_a_time_is_not_waited_for(serve: Any, text: bytes) -> None:
    """The whole answer has its time, not each byte of it."""
    transport = Transport(Context("x", serve(slowly(text)), "k"))
    began = calm_s()
    with pytest.raises(UnreachableError, match="does not answer in time"):
        transport.call("GET", "/v1/x", timeout_s=0.4)
    assert calm_s() - began < 5


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_a_byte_at_a_time_is_not_waited_for_over_tls(
    serve: Any, tmp_path: Path, text: bytes
) -> None:
    """What is encrypted passes the same place."""
    cert, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    url = serve(slowly(text), tls).replace("http://", "https://")
    transport = Transport(Context("x", url, "k", ca=str(cert)))
    with pytest.raises(UnreachableError, match="does not answer in time"):
        transport.call("GET", "/v1/x", timeout_s=0.4)


def test_a_line_at_a_time_is_waited_for(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of a stream has a time of its own, and a heartbeat is one."""
    monkeypatch.setattr("koco.client.stream.SILENCE_S", 0.4)
    end = b'{"seq":1,"ts":"%b","kind":"status","payload":{"status":"finished"}}\n' % TS.encode()

    def says(_: str) -> Iterator[bytes]:
        yield ENDLESS
        for _beat in range(30):
            time.sleep(0.03)
            yield b"\n"
        yield end

    events = Client(Context("x", serve(says), "k")).events("fid", follow=True, patience_s=0)
    assert [event["seq"] for event in events] == [1]


def test_a_line_that_does_not_come_on_is_not_waited_for(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bytes of it come."""
    monkeypatch.setattr("koco.client.stream.SILENCE_S", 0.4)
    url = serve(slowly(ENDLESS + b"x" * 10_000, at_once=len(ENDLESS)))
    with pytest.raises(UnreachableError, match="does not answer in time"):
        list(Client(Context("x", url, "k")).events("fid", follow=True, patience_s=0))


def test_a_large_answer_on_a_slow_line_has_its_time(serve: Any) -> None:
    """It is slow, but it goes on: each byte buys a little more."""
    body = json.dumps({"status": "ok", "x": "x" * 4000}).encode()
    head = answer(body)[: -len(body)]

    def says(_: str) -> Iterator[bytes]:
        yield head
        for at in range(0, len(body), 100):
            time.sleep(0.02)
            yield body[at : at + 100]

    transport = Transport(Context("x", serve(says), "k"))
    assert len(transport.call("GET", "/health", timeout_s=0.3).body) == len(body)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.launch("greet", {}),
        lambda client: client.plan([], project=None, prune=False),
        lambda client: client.test_webhook("w"),
        lambda client: next(client.backup()),
    ],
)
def test_silence_is_not_waited_for_as_long_as_work_may_take(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client], object]
) -> None:
    """Another program took the port: it accepts connections, and says nothing for an hour."""
    monkeypatch.setattr("koco.client.http.pace.QUIET_S", 0.3)
    monkeypatch.setattr("koco.client.transport._LOOK_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=f"{url} does not answer in time"):
            ask(Client(Context("x", url, "k")))


def test_one_that_is_there_may_take_its_time(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers others meanwhile, so the launch that waits for a service is waited for."""
    monkeypatch.setattr("koco.client.http.pace.QUIET_S", 0.2)
    asked: list[str] = []

    def says(path: str) -> list[bytes]:
        asked.append(path)
        if path != "/health":
            while len(asked) < 4:
                time.sleep(0.02)
        return [answer(json.dumps({"result": FID, "status": "ok"}).encode())]

    client = Client(Context("x", serve(says), "k"))
    assert client.launch("greet", {}) == FID
    assert asked == ["/v1/flows/greet", "/health", "/health", "/health"]


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_a_download_that_does_not_come_on_ends(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Answers without content, or with a byte of it, are not requested again without end."""
    monkeypatch.setattr("koco.client.files._PATIENCE_S", 0.5)
    url = serve(with_file([sent], size_bytes=10**9))
    files = Client(Context("x", url, "k")).files
    with pytest.raises(UnreachableError, match="too early"):
        list(files.read(FID, {**FILE, "size_bytes": 10**9}))


@pytest.mark.parametrize("offset", ["-1", "0", "9" * 5000, "x", ""])
def test_an_upload_goes_on_or_ends(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: str
) -> None:
    """Whatever the server says about how far it has come."""
    monkeypatch.setattr("koco.client.files._PATIENCE_S", 0.5)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    told = (f"Upload-Offset: {offset}", "Upload-Complete: ?0")
    files = Client(Context("x", serve(lambda _: [answer(b"", *told)]), "k")).files
    with pytest.raises(KocoError) as caught:
        files.upload(path, "a" * 64, size_bytes=1000)
    assert type(caught.value) is (UnreachableError if offset == "0" else AnswerError)


# shapes


ODD: list[Any] = [None, True, 7, -1e400, "x", "", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize(
    "text", [b"", b"nul", b"[]", b'"x"', b"{}", b'{"items": [', b"\xff", b"NaN"]
)
@pytest.mark.parametrize("status", [200, 404, 418, 500])
def test_any_odd_answer_is_one_clear_error(
    serve: Any, tmp_path: Path, text: bytes, status: int
) -> None:
    """It names the server, and is never called a bug."""
    url = serve(lambda _: [answer(text, status=status)])
    with pytest.raises(KocoError, match=re.escape(url)) as caught:
        Client(Context("x", url, "k"), away_s=0).executions()
    assert caught.value.exit_code in (3, 4)


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("key", ["code", "detail", "hint", "errors", "status", "request_id"])
def test_accepts_odd_refusals(serve: Any, key: str, odd: Any) -> None:
    """It is still an error, and can be printed."""
    problem = {"code": "conflict", "detail": "no", "hint": None, "status": 409}
    url = serve(lambda _: [answer({**problem, key: odd}, status=409)])
    with pytest.raises(KocoError) as caught:
        Client(Context("x", url, "k"), away_s=0).status()
    told = caught.value
    assert isinstance(told.message, str) and isinstance(told.hint, str | None)
    json.dumps(told.to_wire())


LINES = {
    "no JSON": b"x",
    "no object": b"[]",
    "no seq": b'{"kind":"stdout","ts":"x","payload":1}',
    "a seq of text": b'{"seq":"1","ts":"x","kind":"stdout","payload":1}',
    "a long seq": b'{"seq":%b,"ts":"x","kind":"stdout","payload":1}' % (b"9" * 5000),
    "no payload": b'{"seq":1,"ts":"x","kind":"stdout"}',
    "a kind of bytes": b'{"seq":1,"ts":"x","kind":"\xff","payload":1}',
    "no status": b'{"seq":1,"ts":"x","kind":"status","payload":7}',
    "nested too deep": b'{"seq":1,"ts":"x","kind":"stdout","payload":' + b"[" * 100_000,
    "no text": b'{"seq":1,"ts":"x","kind":"stdout","payload":"\xff"}',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_accepts_odd_events(serve: Any, asks: Asks, line: bytes) -> None:
    """That is not the end of an execution, and the exit code is not an outcome."""
    url = serve(lambda _: [ENDLESS, line, b"\n"])
    ran = asks(url, "logs", "fid")
    assert ran.code == 3, ran
    assert url in ran.err and "bug" not in ran.err
