"""One URL is fetched, from permitted addresses only, and within limits."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from koco.control.storage import fetch_process, public_backend, public_network
from koco.control.storage.download_messages import Order, Result
from koco.sizes import MB
from tests.support.file_site import Site, serving_files


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_files() as found:
        yield found


def fetch(url: str, permits: Any = lambda *_: True) -> tuple[Result, bytes]:
    pieces: list[bytes] = []
    return fetch_process.fetch(Order(url, MB), pieces.append, permits), b"".join(pieces)


def test_redirects_are_followed_three_times(site: Site) -> None:
    for number in range(5):
        site.pages[f"/{number}"] = (302, {"Location": f"{number + 1}"}, b"")
    site.pages["/3"] = (200, {}, b"x")
    assert fetch(f"{site.url}/0") == (Result(name="0"), b"x")
    site.pages["/3"] = (302, {"Location": "/4"}, b"")
    site.pages["/4"] = (200, {}, b"x")
    result, content = fetch(f"{site.url}/0")
    assert "more than 3 times" in result.error and content == b""


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://u:p@{}/x"])
def test_redirects_lead_only_to_the_web(site: Site, target: str) -> None:
    site.pages["/x"] = (302, {"Location": target.format(site.url[7:])}, b"")
    assert fetch(f"{site.url}/x")[0].error
    assert len(site.heard) == 1


def test_each_redirect_is_checked(site: Site) -> None:
    """Here the second connection is not permitted."""
    site.pages["/x"] = (302, {"Location": site.url.replace("127.0.0.1", "localhost") + "/y"}, b"")
    site.pages["/y"] = (200, {}, b"secret")
    answers = iter([True, False, False, False])
    result, content = fetch(f"{site.url}/x", permits=lambda *_: next(answers))
    assert "no public address" in result.error and content == b""
    assert [path for path, _ in site.heard] == ["/x"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "127.1", "0", "169.254.169.254"],
)
def test_nothing_private_is_asked(site: Site, host: str) -> None:
    """However the address is written. The message is the one for a name that does not exist."""
    site.pages["/x"] = (200, {}, b"secret")
    port = site.url.rpartition(":")[2]
    unknown = fetch("http://no-such-host.invalid/x", permits=public_network.is_public)
    assert unknown[0].error
    for url in (f"http://{host}:{port}/x", f"http://{host}/x"):
        assert fetch(url, permits=public_network.is_public) == unknown
    assert site.heard == []


def test_a_name_that_changes_its_address_is_of_no_use(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once, and the address that was checked is connected to."""
    port = int(site.url.rpartition(":")[2])
    asked: list[str] = []

    def rebinding(host: Any, *args: Any, **more: Any) -> Any:
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[str] = []

    def connect(self: Any, host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise public_backend.httpcore.ConnectError("no route")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(public_backend.httpcore.SyncBackend, "connect_tcp", connect)
    monkeypatch.setattr(public_network, "PORTS", {port})
    result, _ = fetch(f"http://rebinding.example:{port}/x", permits=public_network.is_public)
    assert "connection to its host failed" in result.error
    assert (connected, len(asked)) == (["93.184.215.14"], 1)


@pytest.mark.parametrize(
    ("status", "headers"), [(404, {}), (500, {}), (206, {}), (200, {"Content-Encoding": "gzip"})]
)
def test_only_a_plain_file_is_accepted(site: Site, status: int, headers: dict[str, str]) -> None:
    site.pages["/x"] = (status, headers, b"secret of the host")
    result, content = fetch(f"{site.url}/x")
    assert result.error and "secret" not in result.error and content == b""


def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message does not speak of the whole download's limit."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    monkeypatch.setattr(fetch_process, "_CONNECT_S", 0.05)
    error = fetch("http://slow.example/x")[0].error
    over.set()
    assert "the name of its host was not resolved within 0.05 s" in error


def test_a_host_that_is_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["/x"] = (200, {}, b"x")
    site.slowness_s = 2
    monkeypatch.setattr(fetch_process, "_SILENCE_S", 0.5)
    assert "its host was silent for 0.5 s" in fetch(f"{site.url}/x")[0].error


def test_a_body_is_passed_on_in_pieces_of_even_size(site: Site) -> None:
    """However small its host sends them."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    site.endless["/x"] = (head, b"1\r\nx\r\n" * 10_000)
    sizes: list[int] = []
    order = Order(f"{site.url}/x", 2 * fetch_process.FRAME_BYTES)
    result = fetch_process.fetch(order, lambda piece: sizes.append(len(piece)), lambda *_: True)
    assert "it has more than" in result.error
    assert set(sizes) == {fetch_process.FRAME_BYTES}
