"""Requests take turns on real connections, before they are parsed."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from koco.control import fair_turns
from tests.support.api_server import Api, serving

COUNT = 300


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(Path(tmp_path_factory.mktemp("data"))) as api:
        api.execution()
        yield api


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_turns, "_MOST", 1)


def connected(api: Api) -> socket.socket:
    url = urlsplit(api.url)
    return socket.create_connection((url.hostname, url.port), 20)


def request(key: str, path: str = "/v1/executions?limit=5", more: str = "") -> bytes:
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{auth}{more}\r\n".encode()


def status_of(connection: socket.socket, count: int = 1) -> list[int]:
    """Read so many answers; return their statuses."""
    file, found = connection.makefile("rb"), []
    for _ in range(count):
        found.append(int(file.readline().split()[1]))
        length = 0
        while (line := file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        file.read(length)
    return found


def test_a_burst_delays_only_its_sender(api: Api) -> None:
    """Others are answered while most of the burst waits; all of it is answered."""
    burst = [connected(api) for _ in range(COUNT)]
    with connected(api) as other, connected(api) as unknown:
        for connection in burst:
            connection.sendall(request("ada"))
        other.sendall(request("bob"))
        unknown.sendall(request("", "/health"))
        assert status_of(other) == [200]
        answered, _, _ = select.select(burst, [], [], 0)
        assert len(answered) < COUNT * 2 / 3
        for connection in burst:
            assert status_of(connection) == [200]
            connection.close()


def test_pipelined_requests_take_turns(api: Api) -> None:
    """Thirty requests on each of ten connections: all are answered, others meanwhile."""
    burst = [connected(api) for _ in range(10)]
    with connected(api) as other:
        for connection in burst:
            connection.sendall(request("ada") * 30)
        other.sendall(request("bob"))
        assert status_of(other) == [200]
        for connection in burst:
            assert status_of(connection, 30) == [200] * 30
            connection.close()


def test_an_incomplete_head_takes_no_turn(api: Api) -> None:
    """Neither its own holder nor anybody else waits for the rest."""
    slow = [connected(api) for _ in range(20)]
    for connection in slow:
        connection.sendall(request("ada")[:-2])
    with connected(api) as quick:
        quick.sendall(request("ada"))
        assert status_of(quick) == [200]
    for connection in slow:
        connection.sendall(b"\r\n")
        assert status_of(connection) == [200]
        connection.close()


def test_a_waiting_connection_that_closes_takes_no_turn(api: Api) -> None:
    """Its request is not carried out, and the next one is answered."""
    for connection in [connected(api) for _ in range(50)]:
        connection.sendall(request("ada"))
        connection.close()
    with connected(api) as next_one:
        next_one.sendall(request("ada"))
        assert status_of(next_one) == [200]


def test_a_body_arrives_whole_behind_a_waiting_head(api: Api) -> None:
    """What arrives meanwhile is kept; beyond a limit it is not read."""
    body = b'{"status": "x", "pad": "' + b"x" * 300_000 + b'"}'
    head = request(
        "ada", "/v1/keys", f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    burst = [connected(api) for _ in range(20)]
    with connected(api) as large:
        for connection in burst:
            connection.sendall(request("ada"))
        large.sendall(head.replace(b"GET", b"POST") + body)
        assert status_of(large) == [403]
        for connection in burst:
            assert status_of(connection) == [200]
            connection.close()
