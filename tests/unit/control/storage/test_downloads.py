"""URLs are fetched into blobs, within limits, and from permitted addresses only."""

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco.control.settings import Settings
from koco.control.storage import downloads, public_network
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.control.storage.downloads import Download, DownloadError, Downloads
from koco.errors import KocoError, LimitError, TooManyError
from koco.sizes import MB
from koco.store.store import Store
from tests.support.http_server import QuietServer

CONTENT = b"report" * 300_000


class Site:
    """A site with what a test puts there."""

    def __init__(self) -> None:
        self.url = ""
        #: By path: a status, headers, and a body.
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.heard: list[tuple[str, dict[str, str]]] = []
        #: How long each piece of a body takes (seconds).
        self.slowness_s = 0.0


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            found.heard.append((self.path, dict(self.headers)))
            status, headers, body = found.pages.get(self.path.partition("?")[0], (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                for at in range(0, len(body), 65536):
                    time.sleep(found.slowness_s)
                    self.wfile.write(body[at : at + 65536])

    server = QuietServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


Fetch = Callable[..., Download]


@pytest.fixture
def settings() -> Settings:
    return Settings(max_file_mb=10)


@pytest.fixture
def fetch(tmp_path: Path, settings: Settings) -> Fetch:
    """Fetch a URL, by default from any address; check what is in the data directory then."""

    def run(url: str, *, most_bytes: float = 4 * MB, permits: Any = lambda *_: True) -> Download:
        async def main() -> Download:
            store = Store.at(tmp_path / "store.db")
            await store.open()
            try:
                blobs = Blobs(tmp_path, store, settings, Disk(tmp_path, settings, store.engine))
                fetching = Downloads(blobs, permits=permits)
                try:
                    found = await fetching.fetch(url, user="ada", most_bytes=most_bytes)
                finally:
                    assert list((tmp_path / "parts").iterdir()) == []
                    assert blobs.unfinished.sizes == {}
                assert await store.uploads.renew("ada", found.sha256) == found.size_bytes
                assert await store.uploads.renew("bob", found.sha256) is None
                content = blobs.path(found.sha256).read_bytes()
                assert hashlib.sha256(content).hexdigest() == found.sha256
                return found
            finally:
                await store.close()

        return asyncio.run(main())

    return run


def test_a_url_becomes_a_blob_of_the_user(site: Site, fetch: Fetch) -> None:
    """Its name is the last part of the path. No credentials are sent, and nothing compressed."""
    site.pages["/a/annual%20report.pdf"] = (200, {}, CONTENT)
    found = fetch(f"{site.url}/a/annual%20report.pdf?signature=x")
    assert found == Download("annual report.pdf", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    [(path, headers)] = site.heard
    assert path.endswith("?signature=x")
    assert headers["Accept-Encoding"] == "identity" and "Authorization" not in headers
    site.pages["/"] = (200, {}, b"")
    assert fetch(f"{site.url}/") == Download("download", hashlib.sha256().hexdigest(), 0)


def test_redirects_are_followed_three_times(site: Site, fetch: Fetch) -> None:
    for number in range(5):
        site.pages[f"/{number}"] = (302, {"Location": f"{number + 1}"}, b"")
    site.pages["/3"] = (200, {}, b"x")
    assert fetch(f"{site.url}/0").name == "0"
    site.pages["/3"] = (302, {"Location": "/4"}, b"")
    site.pages["/4"] = (200, {}, b"x")
    with pytest.raises(DownloadError, match="more than 3 times"):
        fetch(f"{site.url}/0")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://u:p@{}/x"])
def test_redirects_lead_only_to_the_web(site: Site, fetch: Fetch, target: str) -> None:
    site.pages["/x"] = (302, {"Location": target.format(site.url[7:])}, b"")
    with pytest.raises(DownloadError):
        fetch(f"{site.url}/x")
    assert len(site.heard) == 1


def test_each_redirect_is_checked(site: Site, fetch: Fetch) -> None:
    """Here the second connection is not permitted."""
    site.pages["/x"] = (302, {"Location": site.url.replace("127.0.0.1", "localhost") + "/y"}, b"")
    site.pages["/y"] = (200, {}, b"secret")
    answers = iter([True, False, False, False])
    with pytest.raises(DownloadError, match="no public address"):
        fetch(f"{site.url}/x", permits=lambda *_: next(answers))
    assert [path for path, _ in site.heard] == ["/x"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "127.1", "0", "169.254.169.254"],
)
def test_nothing_private_is_asked(site: Site, fetch: Fetch, host: str) -> None:
    """However the address is written. The message is the one for a name that does not exist."""
    site.pages["/x"] = (200, {}, b"secret")
    port = site.url.rpartition(":")[2]
    for url in (f"http://{host}:{port}/x", f"http://{host}/x"):
        with pytest.raises(DownloadError) as caught:
            fetch(url, permits=public_network.is_public)
        with pytest.raises(DownloadError) as unknown:
            fetch("http://no-such-host.invalid/x", permits=public_network.is_public)
        assert caught.value.message == unknown.value.message
    assert site.heard == []


def test_a_name_that_changes_its_address_is_of_no_use(
    site: Site, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once, and the address that was checked is connected to."""
    port = int(site.url.rpartition(":")[2])
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **more: Any) -> Any:
        if host != "rebinding.example":
            return resolve(host, *args, **more)
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[str] = []

    async def connect(self: Any, host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise OSError("no route")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(public_network.httpcore.AnyIOBackend, "connect_tcp", connect)
    monkeypatch.setattr(public_network, "PORTS", {port})
    with pytest.raises(DownloadError, match="connection to its host failed"):
        fetch(f"http://rebinding.example:{port}/x", permits=public_network.is_public)
    assert (connected, len(asked)) == (["93.184.215.14"], 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://a b/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1/\n",
        "ftp://127.0.0.1/",
        "http://127.0.0.1/" + "x" * 5000,
        "http://xn--/",
        "http://ä..ö/",
    ],
)
def test_odd_urls_are_refused(fetch: Fetch, url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url)


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_too_large_is_not_kept(site: Site, fetch: Fetch, announced: bool) -> None:
    """Whether or not its host says how large it is."""
    headers = {"Content-Length": str(len(CONTENT))} if announced else {}
    site.pages["/x"] = (200, headers, CONTENT)
    with pytest.raises(DownloadError, match="more than 1 MB"):
        fetch(f"{site.url}/x", most_bytes=MB)


def test_the_limits_of_uploads_hold(site: Site, fetch: Fetch, settings: Settings) -> None:
    """Of a file's size, and of a user's unfinished uploads."""
    site.pages["/x"] = (200, {}, CONTENT)
    settings.max_file_mb = 1
    with pytest.raises(LimitError, match="max_file_mb"):
        fetch(f"{site.url}/x", most_bytes=100 * MB)
    settings.max_file_mb, settings.max_unfinished_mb = 10, 1
    with pytest.raises(TooManyError, match="max_unfinished_mb"):
        fetch(f"{site.url}/x")


@pytest.mark.parametrize(
    ("status", "headers"), [(404, {}), (500, {}), (206, {}), (200, {"Content-Encoding": "gzip"})]
)
def test_only_a_plain_file_is_accepted(
    site: Site, fetch: Fetch, status: int, headers: dict[str, str]
) -> None:
    site.pages["/x"] = (status, headers, b"secret of the host")
    with pytest.raises(DownloadError) as caught:
        fetch(f"{site.url}/x")
    assert "secret" not in caught.value.message


def test_a_download_takes_limited_time(
    site: Site, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/x"] = (200, {}, CONTENT)
    site.slowness_s = 0.2
    monkeypatch.setattr(downloads, "_MOST_S", 0.5)
    with pytest.raises(DownloadError, match="takes too long"):
        fetch(f"{site.url}/x")


def test_a_broken_connection_is_an_error(site: Site, fetch: Fetch) -> None:
    """Also if the announced length is missing in part: nothing is kept."""
    site.pages["/x"] = (200, {"Content-Length": "1000"}, b"x" * 10)
    with pytest.raises(KocoError):
        fetch(f"{site.url}/x")
    with pytest.raises(DownloadError, match="connection to its host failed"):
        fetch("http://127.0.0.1:1/x")
