"""What every place for blobs does: the same tests for a directory and for a bucket."""

import asyncio
import hashlib
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from koco.control.storage.blob_stores import address
from koco.control.storage.blob_stores.protocol import BlobStore
from koco.errors import NotFoundError
from tests.support.object_storage import BUCKET, Storage

MB = 1024 * 1024
Make = Callable[[], BlobStore]


@pytest.fixture(params=["directory", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return a function that makes a place for blobs: each time as another process would."""
    if request.param == "directory":
        return lambda: address.make(str(tmp_path / "shared"), tmp_path)
    request.getfixturevalue("storage")
    return lambda: address.make(f"s3://{BUCKET}/{tmp_path.name}/koco", tmp_path)


def part(tmp_path: Path, data: bytes) -> tuple[str, Path]:
    path = tmp_path / "part"
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), path


async def whole(store: BlobStore, sha256: str, start: int = 0) -> bytes:
    return b"".join([piece async for piece in await store.open(sha256, start=start)])


async def listed(store: BlobStore, before: float) -> list[str]:
    return sorted([name async for names in store.old(before) for name in names])


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 50))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 700_001, 20 * MB + 7])
def test_a_file_becomes_a_blob(make: Make, tmp_path: Path, size: int) -> None:
    """Of any size, for other processes, too: with its size, and from any byte on."""
    data = os.urandom(size)
    sha256, path = part(tmp_path, data)

    async def body() -> None:
        assert await make().size(sha256) is None
        await make().add(sha256, path)
        other = make()
        assert await other.size(sha256) == size
        assert await whole(other, sha256) == data
        for start in {0, size // 2, max(0, size - 1)}:
            assert await whole(other, sha256, start) == data[start:]
        path.write_bytes(data)
        await make().add(sha256, path)  # once more
        assert await whole(make(), sha256) == data

    run(body)


def test_content_becomes_a_blob(make: Make) -> None:
    """It exists afterwards, and counts as new."""
    data = b"the result of a step" * 1000
    sha256 = hashlib.sha256(data).hexdigest()

    async def body() -> None:
        assert not await make().renew(sha256, len(data))
        await make().put(sha256, data)
        assert await make().renew(sha256, len(data))
        assert not await make().renew(sha256, len(data) + 1)
        assert await whole(make(), sha256) == data

    run(body)


def test_a_missing_blob_is_not_found(make: Make) -> None:
    """The error says where it was looked for."""

    async def body() -> None:
        store = make()
        with pytest.raises(NotFoundError, match="is not in") as caught:
            await store.open("0" * 64)
        assert store.location in caught.value.message

    run(body)


def test_old_blobs_are_listed_and_removed(make: Make) -> None:
    """Those that were added before a time, and only as long as they are not added again."""
    contents = [f"{each}".encode() for each in range(5)]
    names = sorted(hashlib.sha256(each).hexdigest() for each in contents)

    async def body() -> None:
        store = make()
        for each in contents:
            await store.put(hashlib.sha256(each).hexdigest(), each)
        assert await listed(store, time.time() - 60) == []
        assert await listed(store, time.time() + 60) == names
        await store.remove(names[:2], before=time.time() - 60)  # they are new
        assert await listed(store, time.time() + 60) == names
        await store.remove([*names[:2], "0" * 64], before=time.time() + 60)
        assert await listed(make(), time.time() + 60) == names[2:]

    run(body)


def test_a_place_is_checked_and_stays_empty(make: Make) -> None:
    """A check writes, reads and removes, and leaves nothing that counts as a blob."""

    async def body() -> None:
        await make().check()
        assert await listed(make(), time.time() + 60) == []

    run(body)


def test_memory_does_not_grow_with_size(make: Make, tmp_path: Path) -> None:
    """300 MB go up and come down in pieces."""
    path = tmp_path / "large"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(300):
            piece = at.to_bytes(4, "big") * (MB // 4)
            digest.update(piece)
            file.write(piece)
    sha256 = digest.hexdigest()

    async def body() -> None:
        store = make()
        await store.check()  # the library is loaded
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await store.add(sha256, path)
        found = hashlib.sha256()
        async for piece in await store.open(sha256):
            found.update(piece)
        assert found.hexdigest() == sha256
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown_mb < 120, grown_mb

    run(body)


def test_the_loop_goes_on_meanwhile(make: Make, tmp_path: Path) -> None:
    """Nothing blocks it: events are committed while files come and go."""
    data = os.urandom(32 * MB)
    sha256, path = part(tmp_path, data)

    async def body() -> None:
        longest_s, last_s = 0.0, time.monotonic()

        async def tick() -> None:
            nonlocal longest_s, last_s
            while True:
                await asyncio.sleep(0.001)
                now_s = time.monotonic()
                longest_s, last_s = max(longest_s, now_s - last_s), now_s

        store = make()
        await store.check()
        ticking = asyncio.create_task(tick())
        await store.add(sha256, path)
        async for _ in await store.open(sha256):
            pass
        ticking.cancel()
        assert longest_s < 0.5

    run(body)


def test_two_processes_may_add_the_same(make: Make, tmp_path: Path, request: object) -> None:
    """At once: each finds the whole blob afterwards."""
    data = os.urandom(17 * MB)
    sha256, path = part(tmp_path, data)
    others = [tmp_path / f"part-{each}" for each in range(3)]
    for each in others:
        each.write_bytes(data)

    async def body() -> None:
        await asyncio.gather(*(make().add(sha256, each) for each in (path, *others)))
        assert await whole(make(), sha256) == data

    run(body)


def test_only_a_bucket_can_be_read_by_a_signed_url(storage: Storage, tmp_path: Path) -> None:
    """A browser that follows it saves a file, whatever the file is."""
    import urllib.request

    async def body() -> None:
        assert await address.make(str(tmp_path / "d"), tmp_path).sign("0" * 64, 60) is None
        store = address.make(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)
        sha256 = hashlib.sha256(b"<script>").hexdigest()
        await store.put(sha256, b"<script>")
        url = await store.sign(sha256, 60)
        assert url is not None and "X-Amz-Expires=60" in url
        read = urllib.request.urlopen
        with await asyncio.to_thread(read, url) as answer:
            assert answer.read() == b"<script>"
            assert answer.headers["Content-Disposition"] == "attachment"
        refused = await asyncio.to_thread(_status, url.replace(sha256, "0" * 64))
        assert refused == 403

    run(body)


def _status(url: str) -> int:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
