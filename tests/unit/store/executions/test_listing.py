"""Lists of executions: filters, pages, and their limits."""

import asyncio
import random
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koco.events import line
from koco.events.model import Status
from koco.store.executions import listing
from koco.store.model import (
    Execution,
    Filter,
    NewExecution,
    Sight,
)
from koco.store.sql import pages
from koco.store.store import Store
from tests.support.stores import (
    KINDS,
    Check,
    begun,
    ended,
    fids,
    launch,
    opened,
)


def test_pages_have_each_execution_once_while_others_are_added(
    check: Callable[[Check], None],
) -> None:
    """Newest first, and with a filter."""

    async def body(store: Store) -> None:
        made = [await launch(store, flow=f"svc/{i % 2}") for i in range(9)]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = await store.executions.page(Filter(flow="svc/0"), limit=2, cursor=cursor)
            seen += [execution.fid for execution in page.items]
            cursor = page.next
            await launch(store, flow="svc/0")
            if cursor is None:
                break
        assert seen == [execution.fid for execution in reversed(made[::2])]
        assert (await store.executions.page(Filter(statuses=("running",)))).items == []

    check(body)


def test_finds_a_rare_status_of_a_flow_without_reading_the_others(tmp_path: Path) -> None:
    """A status that no execution of the flow has takes no longer."""

    async def body() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        for _ in range(300):
            await store.executions.settle((await launch(store)).fid, Status.FINISHED)
        steps: list[int] = []
        store.engine._reader.set_progress_handler(lambda: steps.append(1), 100)
        for statuses in (("queued", "running"), ("error",)):
            page = await store.executions.page(Filter(statuses=statuses, flow="svc/flow"))
            assert page.items == []
        assert len(steps) < 3
        wanted = Filter(statuses=("error", "finished"), flow="svc/flow")
        page = await store.executions.page(wanted, limit=2)
        assert len(page.items) == 2
        wanted = Filter(statuses=("finished",), flow="svc/flow")
        rest = await store.executions.page(wanted, cursor=page.next)
        assert rest.items[0].id == page.items[1].id - 1
        await store.close()

    asyncio.run(body())


def test_limits_the_memory_of_a_page(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executions with large inputs, and locks with large data, take more pages, each once."""
    monkeypatch.setattr(pages, "PAGE_BYTES", 10_000)

    async def body(store: Store) -> None:
        made = [await begun(store) for _ in range(5)]
        large = [await launch(store, x="y" * size) for size in (100, 9_900, 20_000, 5)]
        for number, execution in enumerate(made):
            data = "z" * (30_000 if number == 2 else 4_000)
            lid = f"l{number}"
            await store.locks.open(execution.fid, lid, name="a", data=data, expires=2e9)
        counts, seen, cursor = [], [], None
        while True:
            page = await store.executions.page(limit=100, cursor=cursor)
            counts.append(len(page.items))
            seen += [execution.fid for execution in page.items]
            if (cursor := page.next) is None:
                break
        assert seen == [each.fid for each in reversed([*made, *large])]
        assert counts[0] == 2, "the small one and the largest"
        lids, cursor = [], None
        while True:
            found = await store.locks.page(limit=100, cursor=cursor)
            lids += [lock.lid for lock in found.items]
            if (cursor := found.next) is None:
                break
            assert sum(len(lock.data) for lock in found.items) < 40_000
        assert lids == ["l0", "l1", "l2", "l3", "l4"]

    check(body)


USERS, FLOWS, TAGS = ("ada", "bob"), ("a/x", "a/y", "b/x"), ("t", "u", "v")


def fits(execution: Execution, wanted: Filter, sight: Sight) -> bool:
    """Return whether an execution matches, without SQL."""
    return (
        (not wanted.statuses or execution.status in wanted.statuses)
        and wanted.flow in (None, execution.flow)
        and wanted.service in (None, execution.service)
        and wanted.user in (None, execution.user)
        and set(wanted.tags) <= set(execution.tags)
        and (wanted.search is None or wanted.search in execution.inputs["words"].split())
        and sight.user in (None, execution.user)
        and (not sight.flows or any(fnmatchcase(execution.flow, each) for each in sight.flows))
    )


def some_filter(rng: random.Random) -> tuple[Filter, Sight]:
    def maybe(*values: Any) -> Any:
        return rng.choice((None, None, *values))

    return Filter(
        statuses=tuple(rng.sample(("queued", "finished", "error"), rng.choice((0, 0, 1, 2)))),
        flow=maybe(*FLOWS),
        service=maybe("a", "b"),
        user=maybe(*USERS),
        tags=tuple(rng.sample(TAGS, rng.choice((0, 0, 1, 2)))),
        search=maybe("red", "green"),
    ), Sight(maybe(*USERS), rng.choice(((), (), ("a/*",), ("b/x", "*/y"))))


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_pages_of_any_filter_have_each_execution_once(
    kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Executions that are added or deleted meanwhile do not disturb the others. Newest first."""
    rng = random.Random(seed)

    async def make(store: Store) -> None:
        flow = rng.choice(FLOWS)
        fields = {
            "flow": flow,
            "service": flow[0],
            "user": rng.choice(USERS),
            "tags": tuple(rng.sample(TAGS, rng.randint(0, 3))),
            "inputs": {"words": " ".join(rng.sample(("red", "green", "blue"), rng.randint(0, 2)))},
        }
        if rng.random() < 0.3:
            await store.executions.create(NewExecution(release=1, **fields))
        else:
            await ended(store, **fields, error=rng.choice((None, {"type": "E", "message": "m"})))

    async def main() -> None:
        async with opened(kind, tmp_path_factory.mktemp("s")) as store:
            await asyncio.gather(*(make(store) for _ in range(20)))
            everything = (await store.executions.page(limit=1000)).items
            for _ in range(4):
                wanted, sight = some_filter(rng)
                now = {each.fid for each in everything}
                expected = [e.fid for e in everything if fits(e, wanted, sight)]
                found: list[str] = []
                cursor = None
                while True:
                    page = await store.executions.page(wanted, sight=sight, limit=2, cursor=cursor)
                    found += [each.fid for each in page.items]
                    if not (cursor := page.next):
                        break
                    await make(store)
                    gone = rng.choice(everything)
                    if gone.status.is_final and gone.fid in now and gone.fid not in found:
                        await store.executions.delete(gone.fid)
                        now.discard(gone.fid)
                assert found == [fid for fid in expected if fid in now]
                everything = (await store.executions.page(limit=1000)).items

    asyncio.run(main())


def test_a_page_ends_at_its_time_limit(tmp_path: Path) -> None:
    """It has a cursor for the rest, and may even be empty."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            for number in range(60):
                await launch(store, f"svc/{number % 2}", n=number)
            sight, wanted = Sight(None, ("*/1",)), Filter(since="2000", tags=("none",))
            for filter_, count in ((Filter(since="2000"), 30), (wanted, 0)):
                pages_, found, cursor = 0, 0, None
                while pages_ == 0 or cursor:
                    page = listing.page(
                        store.engine._reader,
                        filter_,
                        sight=sight,
                        limit=4,
                        cursor=cursor,
                        budget_s=0,
                    )
                    pages_, found, cursor = pages_ + 1, found + len(page.items), page.next
                assert found == count
            source = listing.Source("executions", "id", ["1 = 1"], {})
            scan = listing.Scan(store.engine._reader, source, wanted, sight=sight, match=None)
            assert (list(scan.rows(0, 50, 5, 0.0)), scan.rest) == ([], "45")

    asyncio.run(main())


def test_reads_the_source_whose_executions_are_the_farthest_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both have too many to count."""
    monkeypatch.setattr(listing, "_FEW", 3)

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            for number in range(20):
                tags = ["often"] + ["rare"] * (number % 4 == 0) + ["once"] * (number == 0)
                await ended(store, tags=tags)
            by_tag = {
                tag: listing.Source("tags", "execution", ["tag = :tag"], {"tag": tag})
                for tag in ("often", "rare", "once", "none")
            }
            for best, others in (
                ("rare", ["often"]),
                ("once", ["often", "rare"]),
                ("none", by_tag),
            ):
                sources = [by_tag[tag] for tag in (*others, best)]
                assert listing._best(store.engine._reader, sources, 0, 2**62) == by_tag[best]

    asyncio.run(main())


def test_filters_by_time_even_if_the_clock_was_set_back(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `since` on, and before `until`."""

    async def body(store: Store) -> None:
        made: dict[float, str] = {}
        for second in (3000.0, 1000.0, 2000.0, 1500.0, 4000.0):
            monkeypatch.setattr(line, "time", SimpleNamespace(time=lambda now=second: now, **REAL))
            made[second] = (await launch(store)).fid
        monkeypatch.undo()
        at = line.timestamp
        late = [made[s] for s in (4000.0, 2000.0, 3000.0)]
        assert await fids(store, since=at(2000.0)) == late
        assert await fids(store, until=at(2000.0)) == [made[1500.0], made[1000.0]]
        assert await fids(store, since=at(1200.0), until=at(1600.0)) == [made[1500.0]]

    check(body)


REAL = {"gmtime": time.gmtime, "strftime": time.strftime}
