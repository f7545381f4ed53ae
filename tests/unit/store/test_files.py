"""Executions' files, and uploads."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from koco.errors import (
    LimitError,
    NotFoundError,
    UsageError,
)
from koco.store.model import (
    File,
    FileLimits,
    NewExecution,
    NewFile,
)
from koco.store.store import Store
from tests.support.stores import (
    FREE,
    SHA,
    Check,
    events,
    launch,
    new_file,
)


def test_a_launch_attaches_its_files(check: Callable[[Check], None]) -> None:
    """The rows and `upload` events come with the execution, before its first status."""

    async def body(store: Store) -> None:
        new = NewExecution(
            flow="s/f", service="s", release=1, inputs={}, user="ada", files=(new_file("in/a"),)
        )
        execution, _ = await store.executions.create(new)
        [file] = await store.files.all_of(execution.id)
        assert (file.path, file.sha256, file.size_bytes, file.by) == ("in/a", SHA, 3, "ada")
        stream = await events(store, execution)
        assert [event["kind"] for event in stream] == ["meta", "inputs", "upload", "status"]
        assert stream[2]["payload"] == {
            "path": "in/a",
            "size_bytes": 3,
            "sha256": SHA,
            "by": "ada",
        }

    check(body)


def test_attaches_only_uploaded_blobs(check: Callable[[Check], None]) -> None:
    """By their uploader, and with their size. A refused change leaves neither row nor event."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        before = await events(store, execution)

        async def attach(file: NewFile, uploader: str = "ada") -> File:
            return await store.files.attach(
                execution.fid, file, by=uploader, uploader=uploader, limits=FREE
            )

        with pytest.raises(NotFoundError, match="not uploaded"):
            await attach(new_file("in/a"))
        await store.uploads.add("ada", SHA, 3)
        assert await store.uploads.renew("ada", SHA) == 3
        assert await store.uploads.renew("bob", SHA) is None
        with pytest.raises(NotFoundError, match="not uploaded"):
            await attach(new_file("in/a"), "bob")
        with pytest.raises(UsageError, match="has 3 bytes, not 4"):
            await attach(new_file("in/a", size_bytes=4))
        with pytest.raises(NotFoundError):
            await store.files.attach("none", new_file("in/a"), by="a", uploader="ada", limits=FREE)
        assert await store.files.all_of(execution.id) == []
        assert await events(store, execution) == before
        await attach(new_file("in/a"))
        assert len(await events(store, execution)) == len(before) + 1

    check(body)


def test_finds_and_removes_files_by_folder(
    check: Callable[[Check], None],
) -> None:
    """`in/a` is neither `in/ab` nor `in/a.txt`."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        await store.uploads.add("u", SHA, 3)
        for path in ("in/a/1", "in/a/b/2", "in/ab", "in/a.txt", "in/a0", "out/a"):
            await store.files.attach(
                execution.fid, new_file(path), by="u", uploader="u", limits=FREE
            )

        async def listed(within: str = "") -> list[str]:
            return [file.path for file in await store.files.all_of(execution.id, within=within)]

        assert await listed("in/a") == ["in/a/1", "in/a/b/2"]
        assert await listed("in") == ["in/a.txt", "in/a/1", "in/a/b/2", "in/a0", "in/ab"]
        assert await listed("in/ab") == ["in/ab"]
        assert len(await listed()) == 6
        removed = await store.files.remove(execution.fid, "in/a", by="u")
        assert [file.path for file in removed] == ["in/a/1", "in/a/b/2"]
        assert await listed("in") == ["in/a.txt", "in/a0", "in/ab"]
        with pytest.raises(NotFoundError):
            await store.files.remove(execution.fid, "in/a", by="u")
        with pytest.raises(NotFoundError):
            await store.files.get(execution.id, "in/a")

    check(body)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (FileLimits(max_count=1), "files.max_count is 1"),
        (FileLimits(max_size_mb=0.000001), "files.max_size_mb is 1e-06"),
        (FileLimits(max_total_mb=0.000004), "files.max_total_mb is 4e-06"),
    ],
)
def test_limits_hold_for_concurrent_attachments(
    check: Callable[[Check], None], limits: FileLimits, said: str
) -> None:
    """Of eight at once, only as many pass as are allowed. A replaced file is not counted."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        await store.uploads.add("u", SHA, 3)
        await store.uploads.add("u", "cd" * 32, 3)

        def attach(path: str, sha256: str = SHA) -> Awaitable[File]:
            file = new_file(path, sha256)
            return store.files.attach(execution.fid, file, by="u", uploader="u", limits=limits)

        results = await asyncio.gather(
            *[attach(f"in/{number}") for number in range(8)], return_exceptions=True
        )
        refused = [each for each in results if isinstance(each, LimitError)]
        assert len(refused) >= 7
        assert said in str(refused[0])
        kept = await store.files.all_of(execution.id)
        assert len(kept) == 8 - len(refused)
        for file in kept:
            await attach(file.path, "cd" * 32)

    check(body)


def test_finds_blobs_that_neither_file_nor_upload_refers_to(
    check: Callable[[Check], None],
) -> None:
    """An upload counts until it is older than the given time."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        blobs = [f"{number}" * 64 for number in range(3)]
        for sha256 in blobs:
            await store.uploads.add("u", sha256, 1)
        file = new_file("in/a", blobs[0], 1)
        await store.files.attach(execution.fid, file, by="u", uploader="u", limits=FREE)
        assert await store.uploads.find_unused(blobs, before="2000", keep_releases=1) == []
        assert await store.uploads.find_unused(blobs, before="9000", keep_releases=1) == blobs[1:]
        assert await store.uploads.renew("u", blobs[0]) is None
        await store.files.remove(execution.fid, "in", by="u")
        assert await store.uploads.find_unused(blobs, before="2000", keep_releases=1) == blobs

    check(body)
