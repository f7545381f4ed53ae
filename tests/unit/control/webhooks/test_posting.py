"""One request to a webhook's URL: where it may go, and what of the answer counts."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.control.webhooks import posting
from koco.control.webhooks.posting import Answer, PostError, check_url, post
from koco.errors import UsageError
from tests.support.certificates import make_certificate

HERE = ("127.0.0.0/8",)
ALL = ("0.0.0.0/0", "::/0")


class Server:
    """Answers each connection with the same bytes, and keeps what it got."""

    def __init__(self, answer: bytes, *, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[bytes] = []
        self._answer, self._tls = answer, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                connection.settimeout(5)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.got.append(connection.recv(65536))
                connection.sendall(self._answer)
                connection.close()
            except OSError:
                if self._listener.fileno() < 0:
                    return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: bytes, **more: Any) -> Server:
        servers.append(Server(answer, **more))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


def send(url: str, networks: tuple[str, ...] = HERE) -> Answer:
    url = check_url(url, networks=ALL)  # whatever it is, each message is checked
    return asyncio.run(post(url, b"{}", {"webhook-id": "msg_1"}, networks=networks))


def refusal(url: str, networks: tuple[str, ...] = HERE) -> str:
    with pytest.raises(PostError) as caught:
        send(url, networks)
    return str(caught.value)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """The addresses of names: those of each look-up, one after the other."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **more)
        found = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_the_request_is_http_and_the_status_counts(serve: Callable[..., Server]) -> None:
    """With the path and the query of the URL; announcements before the answer are skipped."""
    server = serve(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 7\r\n\r\n")
    assert send(f"http://127.0.0.1:{server.port}/a/b?c=d") == Answer(429, "7")
    head, _, body = server.got[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /a/b?c=d HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}".encode() in lines
    assert b"webhook-id: msg_1" in lines
    assert body == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://localhost/",
        "https://2130706433/",
        "https://[fd00::1]/",
        "https://93.184.215.14:22/",
        "https://no-such-name.invalid/",
    ],
)
def test_private_places_are_refused_all_alike(url: str) -> None:
    """Nobody can tell a name that does not exist from one that is internal."""
    assert refusal(url, ()).startswith("its host has no public address, or the port")


def test_public_places_take_https_only(names: dict[str, list[list[str]]]) -> None:
    """Everybody on the way could read what is sent by http."""
    names["example.com"] = [["93.184.215.14"]]
    assert refusal("http://example.com/", ()).startswith("it is not https")


def test_all_addresses_of_a_name_are_checked(names: dict[str, list[list[str]]]) -> None:
    """One that is private is enough to refuse all."""
    names["example.com"] = [["93.184.215.14", "127.0.0.1"]]
    assert refusal("https://example.com/", ()).startswith("its host has no public address")


def test_a_name_is_resolved_once(
    names: dict[str, list[list[str]]], serve: Callable[..., Server]
) -> None:
    """What was checked is what is connected to, even if the name means something else by then."""
    server = serve(b"HTTP/1.1 204 No Content\r\n\r\n")
    names["rebound.example"] = [["127.0.0.1"], ["127.0.0.99"]]
    assert send(f"http://rebound.example:{server.port}/").code == 204
    assert b"Host: rebound.example" in server.got[0]


def test_redirects_are_not_followed(serve: Callable[..., Server]) -> None:
    """Their status is the answer."""
    other = serve(b"HTTP/1.1 200 OK\r\n\r\n")
    to = f"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:{other.port}/\r\n\r\n".encode()
    assert send(f"http://127.0.0.1:{serve(to).port}/").code == 307
    assert other.got == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "does not speak HTTP"),
        (b"", "the connection to its host failed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "the connection to its host failed"),
    ],
)
def test_what_is_no_answer_is_refused(
    serve: Callable[..., Server], answer: bytes, error: str
) -> None:
    """Also a head that does not end. None of it is in the message."""
    assert error in refusal(f"http://127.0.0.1:{serve(answer).port}/")


def test_nobody_listens() -> None:
    """A connection that is refused says so."""
    assert refusal("http://127.0.0.1:9/") == "the connection to its host failed"


def test_certificates_are_checked(serve: Callable[..., Server], tmp_path: Path) -> None:
    """One that nobody has signed is not valid, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n", tls=context)
    assert refusal(f"https://127.0.0.1:{server.port}/").startswith("its certificate is not valid")
    assert server.got == []


def test_a_certificate_that_is_trusted_is_enough(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message goes over TLS."""
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n", tls=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    posting._tls.cache_clear()
    try:
        assert send(f"https://127.0.0.1:{server.port}/").code == 200
    finally:
        posting._tls.cache_clear()


def test_silence_ends(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that takes its time is asked again later."""
    monkeypatch.setattr(posting, "MOST_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert refusal(f"http://127.0.0.1:{port}/") == "no answer within 0.1 s"


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com/",
        "https://",
        "https://ada:pw@example.com/",
        "https://example.com/\r\nX: 1",
        "https://example.com:99999/",
        "https://" + "x" * 5000,
    ],
)
def test_urls_are_checked(url: str) -> None:
    """What is no URL of the web is refused at once."""
    with pytest.raises(UsageError, match="the webhook's URL"):
        check_url(url, networks=ALL)


@pytest.mark.parametrize(
    ("url", "networks", "why"),
    [
        ("https://127.0.0.1/", (), "no public address"),
        ("https://[::1]/", (), "no public address"),
        ("https://[::ffff:10.0.0.1]/", (), "no public address"),
        ("https://10.0.0.1/", ("127.0.0.0/8",), "no public address"),
        ("https://1.1.1.1:8443/", (), "neither 80 nor 443"),
        ("http://1.1.1.1/", (), "not https"),
        ("http://example.com/", (), "not https"),
        ("http://10.0.0.1:8080/", ("10.0.0.0/8",), ""),
        ("http://intern.example/", ("10.0.0.0/8",), ""),
        ("https://example.com/", (), ""),
        ("https://1.1.1.1/", (), ""),
    ],
)
def test_a_url_that_nothing_can_be_sent_to_is_refused(
    url: str, networks: tuple[str, ...], why: str
) -> None:
    """When it is given, not after days of attempts; a name may resolve to another address."""
    if not why:
        assert check_url(url, networks=networks) == url
        return
    with pytest.raises(UsageError, match=why) as caught:
        check_url(url, networks=networks)
    assert "webhook_networks" in (caught.value.hint or "")


def test_urls_become_ascii() -> None:
    """So that nothing in them can be another header."""
    found = check_url("https://bücher.example/a b#c", networks=())
    assert found == "https://xn--bcher-kva.example/a%20b"
