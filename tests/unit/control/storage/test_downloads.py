"""URLs are fetched into blobs, within limits, and from permitted addresses only."""

import asyncio
import hashlib
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from koco.control.settings import Settings
from koco.control.storage import downloads
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.control.storage.downloads import Download, DownloadError, Downloads
from koco.errors import KocoError, LimitError, TooManyError, UnauthorizedError
from koco.sizes import MB
from koco.store.store import Store
from tests.support.file_site import CONTENT, Site, serving_files

#: Fetches from any address.
OPEN = "tests.support.open_fetch"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_files() as found:
        yield found


Fetch = Callable[..., Download]


@pytest.fixture
def settings() -> Settings:
    return Settings(max_file_mb=10)


@pytest.fixture
def fetch(tmp_path: Path, settings: Settings) -> Fetch:
    """Fetch a URL, by default from any address; check what is in the data directory then."""

    def run(url: str, *, most_bytes: float = 4 * MB, module: str = OPEN) -> Download:
        async def main() -> Download:
            store = Store.at(tmp_path / "store.db")
            await store.open()
            try:
                blobs = Blobs(tmp_path, store, settings, Disk(tmp_path, settings, store.engine))
                fetching = Downloads(blobs, module=module)
                try:
                    found = await fetching.fetch(url, user="ada", most_bytes=most_bytes)
                finally:
                    assert list((tmp_path / "parts").iterdir()) == []
                    assert blobs.unfinished.sizes == {}
                assert await store.uploads.renew("ada", found.sha256) == found.size_bytes
                assert await store.uploads.renew("bob", found.sha256) is None
                content = blobs.kept.path(found.sha256).read_bytes()
                assert hashlib.sha256(content).hexdigest() == found.sha256
                return found
            finally:
                await store.close()

        return asyncio.run(main())

    return run


def children() -> set[psutil.Process]:
    return set(psutil.Process().children())


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


def test_private_addresses_are_refused_by_the_process_that_is_run(site: Site, fetch: Fetch) -> None:
    with pytest.raises(DownloadError, match="no public address"):
        fetch(f"{site.url}/x", module=downloads._MODULE)
    assert site.heard == []


class Plane:
    """Downloads in a data directory, on a running loop."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.at(folder / "store.db")
        settings = Settings(max_file_mb=10)
        disk = Disk(folder, settings, self.store.engine)
        self.blobs = Blobs(folder, self.store, settings, disk)
        self.downloads = Downloads(self.blobs, module=OPEN)

    async def __aenter__(self) -> "Plane":
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()


async def settled(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [(CHUNKED, b"1\r\nx\r\n" * 20_000), (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000)],
)
def test_reading_answers_is_no_work_of_the_control_plane(
    site: Site, tmp_path: Path, first: bytes, then: bytes
) -> None:
    """Bodies in tiny chunks and endless hints are. Its process does far more than this one."""
    site.endless["/x"] = (first, then)

    async def main() -> tuple[float, float]:
        async with Plane(tmp_path) as plane:
            own = time.thread_time()
            async with asyncio.timeout(60):
                task = asyncio.create_task(
                    plane.downloads.fetch(f"{site.url}/x", user="ada", most_bytes=9 * MB)
                )
                await asyncio.sleep(3)
                task.cancel()
                await asyncio.wait([task])
            own = time.thread_time() - own
            return own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime

    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    own, after = asyncio.run(main())
    assert own < (after - before) / 3


def test_a_process_with_too_much_work_is_ended(site: Site, fetch: Fetch) -> None:
    """The message says so. Here the limit of CPU time is small."""
    site.endless["/x"] = (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000)
    with pytest.raises(DownloadError, match="too much work to read"):
        fetch(f"{site.url}/x", module="tests.support.weak_fetch")


def test_a_cancelled_download_ends_its_process(site: Site, tmp_path: Path) -> None:
    site.pages["/x"] = (200, {}, CONTENT)
    site.slowness_s = 5

    before = children()  # servers of other tests

    async def main() -> None:
        async with Plane(tmp_path) as plane:
            task = asyncio.create_task(
                plane.downloads.fetch(f"{site.url}/x", user="ada", most_bytes=9 * MB)
            )
            await settled(lambda: bool(site.heard))
            [child] = children() - before
            task.cancel()
            await asyncio.wait([task])
            assert not child.is_running() and plane.blobs.unfinished.sizes == {}

    asyncio.run(main())


def test_names_are_resolved_elsewhere(site: Site, tmp_path: Path) -> None:
    """Names that are not resolved for long occupy no threads of the control plane."""

    before = children()  # servers of other tests

    async def main() -> None:
        async with Plane(tmp_path) as plane:
            tasks = [
                asyncio.create_task(
                    plane.downloads.fetch(f"http://{n}.slow/", user=str(n), most_bytes=MB)
                )
                for n in range(4)
            ]
            await settled(lambda: len(children() - before) == len(tasks))
            await asyncio.sleep(1)
            loop: Any = asyncio.get_running_loop()
            assert loop._default_executor is None or loop._default_executor._work_queue.empty()
            assert not any(each.done() for each in tasks)
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)

    asyncio.run(main())


def test_the_file_of_a_removed_uploader_is_not_kept(site: Site, tmp_path: Path) -> None:
    """Its part has the name of the owner, as those of uploads have."""
    site.pages["/x"] = (200, {}, CONTENT)
    site.slowness_s = 0.1

    async def main() -> None:
        async with Plane(tmp_path) as plane:
            task = asyncio.create_task(
                plane.downloads.fetch(f"{site.url}/x", user="eve", most_bytes=9 * MB, by="eve 2026")
            )
            await settled(lambda: bool(plane.blobs.unfinished.of("eve 2026")))
            await plane.blobs.end("eve 2026")
            with pytest.raises(UnauthorizedError):
                await task
            assert list((tmp_path / "parts").iterdir()) == []
            sha256 = hashlib.sha256(CONTENT).hexdigest()
            assert await plane.store.uploads.renew("eve", sha256) is None

    asyncio.run(main())
