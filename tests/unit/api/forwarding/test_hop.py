"""What a process passes on to a leader that dies, stands still, or refuses: over real sockets."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from koco.api.forwarding import hop
from tests.support.api_server import Api
from tests.support.processes import process, processes

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
#: A path that no process answers itself.
LED = "/v1/settings"


class Fake:
    """A leader that does with each connection what a test says."""

    def __init__(self, *acts: Callable[[socket.socket], None]) -> None:
        self._acts = list(acts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                there, _ = self._listener.accept()
            except OSError:
                return
            act = self._acts[min(self.connections, len(self._acts) - 1)]
            self.connections += 1
            threading.Thread(target=self._act, args=(act, there), daemon=True).start()

    def _act(self, act: Callable[[socket.socket], None], there: socket.socket) -> None:
        with there:
            act(there)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def head(there: socket.socket) -> bytes:
    """Read a request up to the end of its head."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += there.recv(65536)
    return got


def dies(there: socket.socket) -> None:
    head(there)


def answers(there: socket.socket) -> None:
    head(there)
    there.sendall(HEAD + b"content-length: 2\r\n\r\n{}")


def is_silent(there: socket.socket) -> None:
    head(there)
    time.sleep(30)


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with process(tmp_path_factory.mktemp("alone"), "follower") as api:
        yield api


@contextmanager
def led_by(api: Api, *acts: Callable[[socket.socket], None]) -> Iterator[Fake]:
    fake = Fake(*acts)
    api.parts.finder.url = fake.url
    try:
        yield fake
    finally:
        api.parts.finder.url = None
        fake.close()


def client(api: Api) -> httpx.Client:
    return httpx.Client(base_url=api.url, trust_env=False, timeout=30)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hop, "_PATIENCE_S", 0.5)


def test_a_safe_request_is_repeated_after_a_death(follower: Api) -> None:
    with led_by(follower, dies, dies, answers) as fake, client(follower) as http:
        assert http.get(LED).json() == {}
        assert fake.connections == 3


def test_a_request_with_a_key_is_repeated_with_its_body(follower: Api) -> None:
    bodies = []

    def take(there: socket.socket) -> None:
        got = head(there)
        while not got.endswith(b'{"a":1}'):
            got += there.recv(65536)
        bodies.append(got)
        if len(bodies) == 2:
            there.sendall(HEAD + b"content-length: 2\r\n\r\n{}")

    with led_by(follower, take) as fake, client(follower) as http:
        headers = {"Idempotency-Key": "k"}
        assert http.post("/v1/keys", content=b'{"a":1}', headers=headers).json() == {}
        assert fake.connections == 2


def test_a_request_that_may_have_been_carried_out_is_not_repeated(follower: Api) -> None:
    with led_by(follower, dies) as fake, client(follower) as http:
        answer = http.post("/v1/keys", content=b"{}")
        assert fake.connections == 1
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"] != ""
    assert "not known whether" in answer.json()["detail"]


def test_a_large_body_is_not_kept_for_a_repetition(follower: Api) -> None:
    with led_by(follower, dies) as fake, client(follower) as http:
        answer = http.put("/v1/x", content=b"a" * 500_000, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, fake.connections) == (503, 1)


@pytest.mark.usefixtures("impatient")
def test_nothing_was_done_if_the_leader_is_not_reached(follower: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        follower.parts.finder.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    try:
        with client(follower) as http:
            answer = http.post("/v1/keys", content=b"{}")
    finally:
        follower.parts.finder.url = None
    assert answer.status_code == 503
    assert "nothing was done" in answer.json()["detail"]


def test_an_answer_that_breaks_off_is_not_complete_for_the_client(follower: Api) -> None:
    def breaks(there: socket.socket) -> None:
        head(there)
        there.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")

    with led_by(follower, breaks) as fake, client(follower) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(LED)
        assert fake.connections == 1


def test_a_leader_that_stands_still_is_left_for_the_next_one(follower: Api) -> None:
    with led_by(follower, is_silent), led_by_later(follower, answers), client(follower) as http:
        assert http.get(LED).json() == {}


@contextmanager
def led_by_later(api: Api, act: Callable[[socket.socket], None]) -> Iterator[None]:
    fake = Fake(act)
    timer = threading.Timer(0.5, lambda: setattr(api.parts.finder, "url", fake.url))
    timer.start()
    yield
    timer.join()
    fake.close()


def test_pieces_of_an_answer_come_at_once(follower: Api) -> None:
    go_on = threading.Event()

    def drips(there: socket.socket) -> None:
        head(there)
        there.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\na\n\r\n")
        go_on.wait(10)
        there.sendall(b"2\r\nb\n\r\n0\r\n\r\n")

    with led_by(follower, drips), client(follower) as http, http.stream("GET", LED) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "a"
        go_on.set()
        assert list(lines) == ["b"]


def test_a_client_that_leaves_ends_the_request_to_the_leader(follower: Api) -> None:
    is_over = threading.Event()

    def waits(there: socket.socket) -> None:
        head(there)
        there.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\na\n\r\n")
        if there.recv(1) == b"":
            is_over.set()

    with led_by(follower, waits), client(follower) as http:
        with http.stream("GET", LED) as answer:
            next(answer.iter_lines())
        assert is_over.wait(5)


def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(follower: Api) -> None:
    ended = threading.Event()

    def takes(there: socket.socket) -> None:
        while there.recv(65536):
            pass
        ended.set()

    with led_by(follower, takes), raw(follower) as there:
        there.sendall(b"PATCH /v1/blobs/x HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nabc")
        time.sleep(0.3)
        assert not ended.is_set()
        there.close()
        assert ended.wait(5)


@contextmanager
def raw(api: Api) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port)) as there:
        there.settimeout(20)
        yield there


def test_a_refusal_in_the_middle_of_an_upload_arrives_at_once(follower: Api) -> None:
    def refuses(there: socket.socket) -> None:
        head(there)
        there.sendall(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")
        time.sleep(5)

    with led_by(follower, refuses), raw(follower) as there:
        there.sendall(b"PATCH /v1/blobs/x HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nabc")
        began = time.monotonic()
        assert there.recv(65536).startswith(b"HTTP/1.1 413")
        assert time.monotonic() - began < 3


def test_a_slow_reader_slows_the_leader_down(follower: Api) -> None:
    sent = 0

    def floods(there: socket.socket) -> None:
        nonlocal sent
        head(there)
        there.sendall(HEAD + b"content-length: 200000000\r\n\r\n")
        there.settimeout(1)
        try:
            while True:
                sent += there.send(b"x" * 65536)
        except OSError:
            pass

    with led_by(follower, floods), raw(follower) as there:
        there.sendall(b"GET /v1/settings HTTP/1.1\r\nhost: x\r\n\r\n")
        there.recv(10)
        time.sleep(2.5)
    assert 0 < sent < 30_000_000  # the rest is in the kernel's buffers


def test_a_slow_leader_slows_an_upload_down(follower: Api) -> None:
    def stalls(there: socket.socket) -> None:
        head(there)
        time.sleep(4)

    sent = 0
    with led_by(follower, stalls), raw(follower) as there:
        there.sendall(b"PATCH /v1/blobs/x HTTP/1.1\r\nhost: x\r\ncontent-length: 200000000\r\n\r\n")
        there.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                sent += there.send(b"x" * 65536)
    assert 0 < sent < 30_000_000


@pytest.mark.parametrize("target", ["@127.0.0.1:1/", "*", "http://127.0.0.1:1/v1/settings"])
def test_a_target_cannot_change_where_a_request_goes(follower: Api, target: str) -> None:
    seen: list[bytes] = []

    def notes(there: socket.socket) -> None:
        seen.append(head(there))
        there.sendall(HEAD + b"content-length: 2\r\n\r\n{}")

    with led_by(follower, notes), raw(follower) as there:
        there.sendall(f"OPTIONS {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert there.recv(65536).startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 200"))
    assert all(each.startswith(b"OPTIONS /v1/settings ") for each in seen)


def test_headers_arrive_as_they_were_sent(follower: Api) -> None:
    seen: list[bytes] = []

    def notes(there: socket.socket) -> None:
        seen.append(head(there))
        there.sendall(
            HEAD + b"set-cookie: a=1\r\nset-cookie: b=2\r\nconnection: x-own\r\nx-own: 1\r\n"
            b"content-length: 2\r\n\r\n{}"
        )

    lines = (
        b"POST /v1/a%2Fb?q=%20+&q=2 HTTP/1.1\r\nhost: example.com\r\nauthorization: Bearer x\r\n"
        b"x-many: 1\r\nx-many: 2\r\nx-text: \xc3\xa4\r\nconnection: x-mine\r\nx-mine: 1\r\n"
        b"content-length: 0\r\n\r\n"
    )
    with led_by(follower, notes), raw(follower) as there:
        there.sendall(lines)
        got = head(there).lower()
    [asked] = [each.lower() for each in seen]
    assert asked.startswith(b"post /v1/a%2fb?q=%20+&q=2 http/1.1\r\n")
    for line in (b"host: example.com", b"authorization: bearer x", b"x-many: 1", b"x-many: 2"):
        assert asked.count(b"\r\n" + line + b"\r\n") == 1
    assert b"x-text: \xc3\xa4\r\n" in asked
    assert b"x-mine" not in asked
    assert b"user-agent" not in asked and b"accept" not in asked
    assert b"set-cookie: a=1\r\n" in got and b"set-cookie: b=2\r\n" in got
    assert b"x-own" not in got
    assert got.count(b"\r\ndate:") == 1


def test_a_header_that_is_not_text_is_refused(follower: Api) -> None:
    with led_by(follower, answers), raw(follower) as there:
        there.sendall(b"GET /v1/settings HTTP/1.1\r\nhost: x\r\nx-a: \xff\r\n\r\n")
        assert there.recv(65536).startswith(b"HTTP/1.1 400")


def test_an_upload_of_many_megabytes_and_its_refusal(tmp_path: Path) -> None:
    data = b"0123456789abcdef" * 200_000
    sha256 = hashlib.sha256(data).hexdigest()
    with processes(tmp_path) as (leader, follower):
        assert follower.upload(data) == sha256
        with follower.http() as http:
            headers = {"Upload-Offset": "0", "Upload-Length": "99999999"}
            answer = http.patch(f"/v1/blobs/{sha256[::-1]}", content=data, headers=headers)
            assert answer.status_code == 413
            shown = http.head(f"/v1/blobs/{sha256}")
            assert shown.headers["upload-complete"] == "?1"
        assert leader.call(leader.parts.files.blobs.kept.size(sha256)) == len(data)


def test_a_process_that_comes_to_lead_answers_what_waited(tmp_path: Path) -> None:
    with process(tmp_path, "next") as api, client(api) as http:
        api.parts.finder.url = None

        def take_over() -> None:
            api.call(api.parts.store.engine.lead(url=api.url))
            api.loop.call_soon_threadsafe(api.parts.leadership.begin)

        threading.Timer(0.5, take_over).start()
        answer = http.post("/v1/keys", json={}, headers={"Authorization": "Bearer ada"})
    assert answer.status_code == 403, answer.text
