"""Proxies that the environment names: which URLs go through one, and what a dead one is called."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco.client.context_file import Context
from koco.client.http_proxy import proxy_for
from koco.client.transport import Transport
from koco.errors import UnreachableError
from tests.support.http_server import QuietServer


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False),
        ("koco.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("other.org, *.EXAMPLE.com", True),
        ("*.koco.example.com", True),
        ("*", True),
        ("*.ample.com", False),
        ("*.example.org", False),
        ("*.", False),
    ],
)
def test_no_proxy_excludes_a_host_and_those_below_it(
    no_proxy: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    found = proxy_for("https://koco.example.com:8400")
    assert found == (None if is_direct else "http://proxy.test:3128")


def test_loopback_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    assert proxy_for("http://127.0.0.1:8400") is None
    assert proxy_for("http://localhost:8400") is None


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "proxy.test:3128")
    assert proxy_for("http://koco.test:8400") == "http://proxy.test:3128"


class _Proxy(BaseHTTPRequestHandler):
    """Answers each request itself, and keeps its first line."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Any]:
    server: Any = QuietServer(("127.0.0.1", 0), _Proxy)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_requests_go_through_the_proxy_with_the_key(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And without a password of ~/.netrc, if there is no key."""
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    for key in ("k", ""):
        Transport(Context("x", "http://koco.test:8400", key)).call("GET", "/v1/me")
    path = "http://koco.test:8400/v1/me"
    assert proxy.asked == [(path, "Bearer k"), (path, None)]


def test_a_dead_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{port}")
    transport = Transport(Context("x", "http://koco.test:8400", "k"), away_s=0.1)
    with pytest.raises(UnreachableError, match=r"or the proxy http://…@127\.0\.0\.1") as caught:
        transport.call("GET", "/v1/me")
    assert "secret" not in str(caught.value)
    assert "NO_PROXY" in str(caught.value.hint)
