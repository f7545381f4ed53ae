"""Uploads in chunks: any order, at once, repeated, wrong, by others, too many, too old."""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.control.settings import Settings
from koco.control.storage.blobs import Blobs
from koco.control.storage.chunked import CHUNK_BYTES, ChunkedUploads, Upload
from koco.control.storage.disk import Disk
from koco.errors import (
    ConflictError,
    KocoError,
    LimitError,
    NotFoundError,
    TooManyError,
    UsageError,
)
from koco.store.store import Store


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Any]:
    store = Store.at(tmp_path / "store.db")
    await store.open()
    settings = Settings(max_file_mb=3)
    disk = Disk(tmp_path, settings, store.engine)
    blobs = Blobs(tmp_path, store, settings, disk)
    made = lambda: ChunkedUploads(tmp_path, blobs, settings, disk)  # noqa: E731
    yield SimpleNamespace(make=made, uploads=made(), blobs=blobs, settings=settings, dir=tmp_path)
    await store.close()


def in_loop(test: Callable[[Any], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test in an event loop, with uploads of its own."""

    def run(tmp_path: Path) -> None:
        async def main() -> None:
            async with opened(tmp_path) as own:
                await test(own)

        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run


def upload(total: int, name: str = "a.txt") -> Upload:
    return Upload(filename=name, total_chunks=total)


async def content_of(own: Any, upload_id: str) -> bytes:
    _, found = await own.uploads.finish("ada", upload_id)
    data = own.blobs.kept.path(found.sha256).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (found.sha256, found.size_bytes)
    return bytes(data)


@in_loop
async def test_chunks_arrive_in_any_order_at_once_and_repeatedly(own: Any) -> None:
    """The file has them in the order of their numbers, whatever their sizes."""
    pieces = [os.urandom(size) for size in (1, 70_000, 0, 5, 300_000, 12)]
    made = await own.uploads.begin("ada", upload(len(pieces)))
    sent = [*enumerate(pieces), *enumerate(pieces)]
    random.Random(1).shuffle(sent)
    counts = await asyncio.gather(*(own.uploads.take("ada", made, *each) for each in sent))
    assert max(counts) == len(pieces)
    assert await content_of(own, made) == b"".join(pieces)
    # Both calls may be repeated, because their answers may have been lost.
    assert await own.uploads.take("ada", made, 0, pieces[0]) == len(pieces)
    assert await content_of(own, made) == b"".join(pieces)


@in_loop
async def test_an_upload_survives_a_restart(own: Any) -> None:
    """What has arrived counts, and an empty file needs no chunk."""
    made = await own.uploads.begin("ada", upload(2))
    await own.uploads.take("ada", made, 1, b"world")
    own.blobs.unfinished.sizes.clear()
    own.uploads = own.make()
    assert list(own.blobs.unfinished.sizes.values()) == [5]
    await own.uploads.take("ada", made, 0, b"hello ")
    assert await content_of(own, made) == b"hello world"
    assert await content_of(own, await own.uploads.begin("ada", upload(0))) == b""


@in_loop
async def test_missing_and_changed_chunks_are_refused(own: Any) -> None:
    """By number. Nothing is completed or replaced."""
    made = await own.uploads.begin("ada", upload(3))
    await own.uploads.take("ada", made, 1, b"b")
    with pytest.raises(ConflictError, match="no chunk 0, 2 yet"):
        await own.uploads.finish("ada", made)
    with pytest.raises(ConflictError, match="other content"):
        await own.uploads.take("ada", made, 1, b"B")
    for number in (-1, 3):
        with pytest.raises(UsageError, match="no chunk"):
            await own.uploads.take("ada", made, number, b"x")


@in_loop
async def test_others_and_invented_ids_are_not_found(own: Any) -> None:
    """Neither is a path."""
    made = await own.uploads.begin("ada", upload(1))
    for user, name in (("bob", made), ("ada", "../x"), ("ada", ""), ("ada", made.upper())):
        with pytest.raises(NotFoundError, match="Invalid upload ID"):
            await own.uploads.take(user, name, 0, b"x")
    await own.uploads.cancel("ada", made)
    with pytest.raises(NotFoundError):
        await own.uploads.cancel("ada", made)


@in_loop
async def test_limits_of_size_and_number_hold(own: Any) -> None:
    """Of a chunk, a file, all unfinished files of a user, and the number of those."""
    made = await own.uploads.begin("ada", upload(9))
    big = b"x" * CHUNK_BYTES
    with pytest.raises(LimitError, match="a chunk may have"):
        await own.uploads.take("ada", made, 0, big + b"x")
    for number in range(3):
        await own.uploads.take("ada", made, number, big)
    with pytest.raises(LimitError, match="max_file_mb"):
        await own.uploads.take("ada", made, 3, b"x")
    own.settings.max_unfinished_mb = 4
    other = await own.uploads.begin("ada", upload(9))
    await own.uploads.take("ada", other, 0, big)
    with pytest.raises(TooManyError, match="max_unfinished_mb"):
        await own.uploads.take("ada", other, 1, b"x")
    own.settings.max_unfinished_uploads = 2
    with pytest.raises(TooManyError, match="max_unfinished_uploads"):
        await own.uploads.begin("ada", upload(1))
    await own.uploads.begin("bob", upload(1))
    for count in (-1, 100_001):
        with pytest.raises(LimitError, match="chunks"):
            await own.uploads.begin("bob", upload(count))


@in_loop
async def test_idle_uploads_are_removed(own: Any) -> None:
    """After `unfinished_hours` without a new chunk."""
    old, new = [await own.uploads.begin("ada", upload(1)) for _ in range(2)]
    [folder] = own.dir.glob(f"chunked/*/{old}")
    for path in (*folder.iterdir(), folder):
        os.utime(path, (1, 1))
    assert await own.uploads.collect() == 1
    await own.uploads.find("ada", new)
    with pytest.raises(KocoError):
        await own.uploads.find("ada", old)
