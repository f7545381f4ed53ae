"""Executions are counted by day, flow, user and status, also after they were deleted."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from koco.errors import UsageError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.used import Used
from koco.events.wire import Batch
from koco.store import version
from koco.store.engine.sqlite import schema
from koco.store.model import NewFile, Sight
from koco.store.store import Store
from koco.store.usage import UsageQuery, UsageRow, _bucket, _middle_s
from tests.support.stores import SHA, Check, begun, ended, launch

BY_FLOW = UsageQuery(by=("flow", "status"))


def _brief(rows: list[UsageRow]) -> list[tuple[str | None, str | None, int]]:
    return [(row.flow, row.status, row.executions) for row in rows]


def test_counts_ended_and_open_executions(check: Callable[[Check], None]) -> None:
    """Each status apart, with durations of those that ran and bytes of those that ended."""

    async def body(store: Store) -> None:
        for _ in range(3):
            await ended(store, user="ada")
        await ended(store, error={"type": "E", "message": "m"})
        await launch(store)
        cancelled = await launch(store)
        await store.executions.settle(cancelled.fid, Status.CANCELLED)
        rows = (await store.usage.page(BY_FLOW)).items
        assert _brief(rows) == [
            ("svc/flow", "cancelled", 1),
            ("svc/flow", "error", 1),
            ("svc/flow", "finished", 3),
            ("svc/flow", "queued", 1),
        ]
        never_ran, *_ = rows
        assert (never_ran.p50_s, never_ran.duration_s) == (None, 0)
        assert rows[2].event_bytes > 0

    check(body)


def test_deleted_executions_stay_counted(check: Callable[[Check], None]) -> None:
    async def body(store: Store) -> None:
        await store.uploads.add("ada", SHA, 3)
        files = (NewFile(path="in/a", sha256=SHA, size_bytes=3),)
        gone = await ended(store, user="ada", files=files)
        before = await store.usage.page(BY_FLOW)
        await store.executions.delete(gone.fid)
        assert await store.usage.page(BY_FLOW) == before
        assert before.items[0].file_bytes == 3

    check(body)


def test_a_sight_counts_only_what_it_sees(check: Callable[[Check], None]) -> None:
    """Own executions only, of own flows only, whether they have ended or not."""

    async def body(store: Store) -> None:
        for user in ("ada", "bob"):
            for flow in ("svc/flow", "svc/other"):
                await ended(store, user=user, flow=flow)
        await launch(store, "svc/other")
        mine = await store.usage.page(BY_FLOW, sight=Sight("ada", ("svc/f*",)))
        assert _brief(mine.items) == [("svc/flow", "finished", 1)]
        other = await store.usage.page(BY_FLOW, sight=Sight(None, ("svc/other",)))
        assert _brief(other.items) == [
            ("svc/other", "finished", 2),
            ("svc/other", "queued", 1),
        ]

    check(body)


def test_filters_by_day_flow_user_and_status(check: Callable[[Check], None]) -> None:
    async def body(store: Store) -> None:
        one = await ended(store, user="ada")
        await ended(store, user="bob", flow="svc/other")
        await launch(store)
        today = one.created[:10]

        async def total(**wanted: object) -> int:
            query = UsageQuery(by=("day",), **wanted)  # type: ignore[arg-type]
            return sum(row.executions for row in (await store.usage.page(query)).items)

        assert await total(since=today) == 3
        assert await total(until=today) == 0
        assert await total(since="2999-01-01") == 0
        assert await total(user="ada") == 1
        assert await total(flow="svc/flow") == 2
        assert await total(statuses=("finished",)) == 2

    check(body)


def test_pages_have_each_group_once(check: Callable[[Check], None]) -> None:
    async def body(store: Store) -> None:
        for number in range(5):
            await ended(store, flow=f"svc/f{number}")
            await launch(store, f"svc/f{number}")
        found, cursor = [], None
        while True:
            page = await store.usage.page(BY_FLOW, limit=3, cursor=cursor)
            assert len(page.items) <= 3
            found += _brief(page.items)
            if (cursor := page.next) is None:
                break
        assert len(found) == len(set(found)) == 10
        for wrong in ("x", "WyJhIl0"):
            with pytest.raises(UsageError, match="not a cursor"):
                await store.usage.page(BY_FLOW, cursor=wrong)

    check(body)


@pytest.mark.parametrize("seconds", [0.001, 0.25, 1.0, 59.9, 3600.0, 1e6])
def test_a_bucket_is_within_a_tenth_of_its_durations(seconds: float) -> None:
    assert _middle_s(_bucket(seconds)) == pytest.approx(seconds, rel=0.1)


def test_executions_from_before_are_counted_by_the_migration(tmp_path: Path) -> None:
    """With the same buckets as new ones."""
    path = tmp_path / "store.db"

    async def fill() -> list[UsageRow]:
        store = Store.at(path)
        await store.open()
        await ended(store)
        await launch(store)
        cancelled = await launch(store)
        await store.executions.settle(cancelled.fid, Status.CANCELLED)
        await store.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(
                "UPDATE executions SET started = '2026-05-01T10:00:00.000Z',"
                " finished = '2026-05-01T10:00:07.500Z' WHERE status = 'finished'"
            )
            step = schema.MIGRATIONS[1]
            db.execute("DELETE FROM usage")
            for name in ("wall_s", "cpu_s", "peak_memory_bytes", "ray_tasks", "stored_bytes"):
                db.execute(f"ALTER TABLE usage DROP COLUMN {name}")
            db.executescript(step[step.index("CREATE TEMP TABLE") :])
            later = schema.MIGRATIONS[4]
            db.executescript(later[later.index("ALTER TABLE usage") : later.index("-- The limits")])
        await store.open()
        try:
            return (await store.usage.page(BY_FLOW)).items
        finally:
            await store.close()

    rows = asyncio.run(fill())
    assert _brief(rows) == [
        ("svc/flow", "cancelled", 1),
        ("svc/flow", "finished", 1),
        ("svc/flow", "queued", 1),
    ]
    assert (rows[1].duration_s, rows[1].p50_s) == (7.5, _middle_s(_bucket(7.5)))
    assert version.LATEST >= 2


def test_durations_are_from_start_to_end(check: Callable[[Check], None]) -> None:
    async def body(store: Store) -> None:
        execution = await begun(store)
        await asyncio.sleep(0.05)
        await store.executions.settle(execution.fid, Status.FINISHED)
        [row] = (await store.usage.page(BY_FLOW)).items
        assert row.duration_s >= 0.05
        assert row.p50_s == row.p95_s == pytest.approx(row.duration_s, rel=0.1)

    check(body)


def test_adds_up_what_executions_used(check: Callable[[Check], None]) -> None:
    """As their processes have told, until they end; of the memory, the highest peak."""

    async def body(store: Store) -> None:
        for cpu_s, memory in ((1.5, 300), (0.25, 200)):
            now = await begun(store)
            told = Used(wall_s=2.0, cpu_s=cpu_s, peak_memory_bytes=memory, ray_tasks=3)
            await store.events.append([Batch(now.fid, "q", 1, 0, b"", "r1", used=told)])
            running = (await store.executions.get(now.fid)).used
            assert running is not None and (running.cpu_s, running.ray_tasks) == (cpu_s, 3)
            end = line.encode(Kind.FINAL, "x" * 1000)
            done = Batch(now.fid, "q", 1, 1, end, "r1", Status.FINISHED, used=told)
            await store.events.append([done])
        died = await begun(store)
        await asyncio.sleep(0.05)
        await store.executions.settle(died.fid, Status.ERROR)
        never = await launch(store)
        await store.executions.settle(never.fid, Status.CANCELLED)
        assert (await store.executions.get(never.fid)).used is None
        left = (await store.executions.get(died.fid)).used
        assert left is not None and left.wall_s >= 0.05 and left.stored_bytes > 0
        query = UsageQuery(by=("service", "status"))
        cancelled, error, finished = (await store.usage.page(query)).items
        assert {cancelled.service, error.service, finished.service} == {"svc"}
        assert (finished.cpu_s, finished.wall_s, finished.ray_tasks) == (1.75, 4.0, 6)
        assert finished.peak_memory_bytes == 300
        assert finished.stored_bytes == finished.event_bytes > 2000
        assert (cancelled.wall_s, cancelled.cpu_s) == (0, 0)
        await store.executions.delete(died.fid)
        assert (await store.usage.page(query)).items[1] == error

    check(body)


def test_files_and_steps_are_stored_bytes(check: Callable[[Check], None]) -> None:
    """Besides the events."""

    async def body(store: Store) -> None:
        await store.uploads.add("", SHA, 3)
        files = (NewFile(path="in/a", sha256=SHA, size_bytes=3),)
        execution = await ended(store, files=files)
        [row] = (await store.usage.page(BY_FLOW)).items
        assert execution.used is None or execution.used.stored_bytes == row.event_bytes + 3
        assert row.stored_bytes == row.event_bytes + 3

    check(body)
