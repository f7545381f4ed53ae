"""Executions are created, found, hidden and deleted."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from koco.errors import (
    ConflictError,
    NotFoundError,
)
from koco.events.model import Status
from koco.store.engine.sqlite.engine import SqliteEngine
from koco.store.model import (
    PROOF,
    NewExecution,
    Sight,
)
from koco.store.store import Store
from tests.support.stores import (
    SHA,
    Check,
    batch,
    begun,
    ended,
    events,
    fids,
    launch,
    new_file,
    opened,
)


def test_queues_a_launch_with_its_first_events(check: Callable[[Check], None]) -> None:
    """`create` commits the execution with meta, inputs and status, numbered from 1."""

    async def body(store: Store) -> None:
        execution = await launch(store, topic="x")
        assert execution.status is Status.QUEUED
        assert len(execution.fid) == 16
        stream = await events(store, execution)
        assert [(e["seq"], e["kind"]) for e in stream] == [
            (1, "meta"),
            (2, "inputs"),
            (3, "status"),
        ]
        assert stream[1]["payload"] == {"topic": "x"}
        assert await store.executions.get(execution.fid) == execution

    check(body)


def test_keeps_what_a_service_pickled_until_the_execution_is_deleted(
    check: Callable[[Check], None],
) -> None:
    """It is not among an execution's columns, because lists would read it for each of theirs."""

    async def body(store: Store) -> None:
        plain = await launch(store)
        new = NewExecution(
            **{"flow": "svc/flow", "service": "svc", "release": 1, "inputs": {}},
            dialect="kodosumi",
            pickled="gASVAA==",
        )
        execution, _ = await store.executions.create(new)
        found = await store.executions.get(execution.fid)
        assert (found.dialect, plain.dialect) == ("kodosumi", "")
        assert await store.executions.pickled(found) == "gASVAA=="
        assert await store.executions.pickled(plain) is None
        await store.executions.settle(found.fid, Status.CANCELLED)
        await store.executions.delete(found.fid)
        assert await store.executions.pickled(found) is None

    check(body)


def test_finds_executions_by_prefix_and_latest(check: Callable[[Check], None]) -> None:
    """A unique prefix is enough. The error for an ambiguous or unknown one says so."""

    async def body(store: Store) -> None:
        with pytest.raises(NotFoundError):
            await store.executions.get("latest")
        made = [await launch(store) for _ in range(40)]
        assert (await store.executions.get("latest")).fid == made[-1].fid
        assert (await store.executions.get(made[3].fid[:12])).fid == made[3].fid
        with pytest.raises(NotFoundError):
            await store.executions.get("ilou")
        for fid in ("", "%", "_"):
            with pytest.raises((NotFoundError, ConflictError)):
                await store.executions.get(fid)
        first = {execution.fid[0] for execution in made}
        shared = next(c for c in first if sum(e.fid[0] == c for e in made) > 1)
        with pytest.raises(ConflictError) as caught:
            await store.executions.get(shared)
        fitting = [each for each in reversed(made) if each.fid[0] == shared]
        listed = [f"{each.fid} (svc/flow, queued)" for each in fitting]
        more = ", more" if len(fitting) > 5 else ""
        told = f"several executions begin with {shared!r}: {', '.join(listed[:5])}{more}"
        assert caught.value.message == told

    check(body)


def test_hides_and_forgets_proofs(check: Callable[[Check], None]) -> None:
    """No list has them, even if a killed control plane left one behind."""

    async def body(store: Store) -> None:
        mine = await launch(store)
        proof, _ = await store.executions.create(
            NewExecution(flow=PROOF, service="", release=0, inputs={})
        )
        assert [each.fid for each in (await store.executions.page()).items] == [mine.fid]
        assert [each.fid for each in await store.executions.all_open()] == [mine.fid]
        assert (await store.executions.get("latest")).fid == mine.fid
        assert await store.events.after(proof.id, 0, budget_bytes=1)
        await store.executions.forget_proofs()
        assert not await store.events.after(proof.id, 0, budget_bytes=1)
        assert (await store.executions.count_by_status())["queued"] == 1
        assert await store.engine.probe() > 0

    check(body)


def test_hides_executions_that_are_out_of_sight(check: Callable[[Check], None]) -> None:
    """Those of other users and other flows: by fid, by prefix, as `latest` and in lists."""

    async def body(store: Store) -> None:
        made = {}
        for user, name in (("ada", "a/x"), ("bob", "a/x"), ("ada", "b/y")):
            new = NewExecution(flow=name, service=name[0], release=1, inputs={}, user=user)
            made[user, name] = (await store.executions.create(new))[0].fid
        for fid in made.values():
            await store.locks.open(fid, f"l{fid}", name="go", data=None, expires=4e9)
        for sight, seen in (
            (Sight("ada"), [("ada", "a/x"), ("ada", "b/y")]),
            (Sight(None, ("a/*",)), [("ada", "a/x"), ("bob", "a/x")]),
            (Sight("ada", ("b/*", "c/*")), [("ada", "b/y")]),
            (Sight("eve"), []),
        ):
            fids = [made[each] for each in seen]
            found = (await store.executions.page(sight=sight)).items
            assert [each.fid for each in reversed(found)] == fids
            assert {each.fid for each in (await store.locks.page(sight=sight)).items} == set(fids)
            if fids:
                assert (await store.executions.get("latest", sight)).fid == fids[-1]
            for fid in made.values():
                if fid in fids:
                    assert (await store.executions.get(fid[:12], sight)).fid == fid
                else:
                    with pytest.raises(NotFoundError):
                        await store.executions.get(fid, sight)

    check(body)


def test_deleting_an_execution_leaves_only_its_name(check: Callable[[Check], None]) -> None:
    """No events, files, locks or words. Its blobs are free. It must have ended."""

    async def body(store: Store) -> None:
        await store.uploads.add("ada", SHA, 3)
        mine = await ended(store, inputs={"topic": "zebra"}, user="ada", files=(new_file("in/a"),))
        other = await begun(store)
        assert await fids(store, search="zebra") == [mine.fid]
        with pytest.raises(ConflictError, match="koco cancel"):
            await store.executions.delete(other.fid)
        for number in range(250):
            await store.events.append([batch(other.fid, number + 1, "x")])
        await store.executions.settle(other.fid, Status.CANCELLED)
        for each in (mine, other):
            await store.executions.delete(each.fid)
            assert await store.events.after(each.id, 0, budget_bytes=1) == []
            assert await store.files.all_of(each.id) == []
            with pytest.raises(NotFoundError):
                await store.executions.get(each.fid)
            with pytest.raises(NotFoundError):
                await store.executions.delete(each.fid)
        assert await fids(store, search="zebra") == []
        assert await fids(store) == []
        if isinstance(store.engine, SqliteEngine):
            words = store.engine._reader.execute("SELECT 1 FROM search WHERE search MATCH 'zebra'")
            assert words.fetchall() == []
        assert await store.uploads.find_unused([SHA], before="9", keep_releases=1) == [SHA]
        assert {
            status: n for status, n in (await store.executions.count_by_status()).items() if n
        } == {}

    check(body)


def test_a_prefix_that_fits_too_many_executions_is_ambiguous(tmp_path: Path) -> None:
    """Whatever of them is in sight. A whole fid is not ambiguous."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            rows = [(f"same{number:04d}", "bob" if number == 7 else "ada") for number in range(999)]
            insert = (
                "INSERT INTO executions (fid, flow, service, release, status, inputs, user, tags,"
                " created) VALUES (?, 'svc/f', 'svc', 1, 'queued', '{}', ?, '[]', '2026')"
            )
            await store.engine.write(lambda db: db.executemany(insert, rows))
            assert (await store.executions.get("same", Sight("bob"))).fid == "same0007"
            await store.engine.write(lambda db: db.execute(insert, ("same0999", "ada")))
            with pytest.raises(ConflictError, match="several"):
                await store.executions.get("same", Sight("bob"))
            assert (await store.executions.get("same0007", Sight("bob"))).fid == "same0007"
            assert (await store.executions.get("latest", Sight("bob"))).fid == "same0007"
            with pytest.raises(NotFoundError):
                await store.executions.get("latest", Sight("eve"))

    asyncio.run(main())
