"""The contract of a store, run against every kind of it."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koco.errors import (
    ConflictError,
    LimitError,
    NoRoomError,
    NotFoundError,
    TimedOutError,
    UsageError,
)
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.engine.sqlite import readers
from koco.store.engine.sqlite.engine import SqliteEngine
from koco.store.engine.sqlite.search import TextIndex
from koco.store.errors import NoSearchError, StoreError
from koco.store.executions import listing, search
from koco.store.model import (
    EVERYTHING,
    PROOF,
    Answer,
    Execution,
    File,
    FileLimits,
    Filter,
    Key,
    Lock,
    NewExecution,
    NewFile,
    Policy,
    ReleaseFailure,
    Sight,
)
from koco.store.sql import pages
from koco.store.store import Store
from tests.support.releases import flow, manifest
from tests.unit.conftest import examples

Check = Callable[[Store], Awaitable[None]]
KINDS: dict[str, Callable[[Path], Store]] = {"sqlite": lambda path: Store.at(path / "store.db")}


@asynccontextmanager
async def opened(kind: str, path: Path) -> AsyncIterator[Store]:
    store = KINDS[kind](path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=sorted(KINDS))
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Check], None]:
    """Run a coroutine with an empty store of each kind."""

    def run(body: Check) -> None:
        async def main() -> None:
            async with opened(request.param, tmp_path) as store:
                await body(store)

        asyncio.run(main())

    return run


async def launch(store: Store, flow: str = "svc/flow", **inputs: Any) -> Execution:
    new = NewExecution(flow=flow, service="svc", release=1, inputs=inputs)
    execution, is_new = await store.executions.create(new)
    assert is_new
    return execution


def batch(
    fid: str,
    first: int,
    *texts: str,
    producer: str = "p",
    runner: str = "",
    status: Status | None = None,
    kind: Kind = Kind.STDOUT,
) -> Batch:
    body = b"\n".join(line.encode(kind, text) for text in texts)
    return Batch(fid, producer, first, len(texts), body, runner, status)


async def begun(store: Store, runner: str = "r1") -> Execution:
    execution = await launch(store)
    assert await store.executions.assign(execution.fid, runner)
    [ack] = await store.events.append(
        [batch(execution.fid, 1, runner=runner, status=Status.RUNNING)]
    )
    assert not ack.closed
    return await store.executions.get(execution.fid)


async def events(store: Store, execution: Execution, after: int = 0) -> list[dict[str, Any]]:
    chunks = await store.events.after(execution.id, after, budget_bytes=1 << 30)
    return [
        line.decode(seq, text)
        for chunk in chunks
        for seq, text in line.number_lines(chunk.first, chunk.body)
        if seq > after
    ]


def statuses(stream: list[dict[str, Any]]) -> list[str]:
    return [event["payload"]["status"] for event in stream if event["kind"] == "status"]


def test_a_launch_is_queued_with_its_first_events(check: Callable[[Check], None]) -> None:
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


def test_a_life_from_queued_to_finished(check: Callable[[Check], None]) -> None:
    """Statuses, times, outcome and tallies follow the events, with one final status at the end."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        assert execution.started
        await store.events.append([batch(execution.fid, 1, "a", "b", runner="r1")])
        last = batch(execution.fid, 3, "done", runner="r1", status=Status.FINISHED, kind=Kind.FINAL)
        await store.events.append([last])
        done = await store.executions.get(execution.fid)
        stream = await events(store, execution)
        assert statuses(stream) == ["queued", "starting", "running", "finished"]
        assert [e["seq"] for e in stream] == list(range(1, len(stream) + 1))
        assert stream[-1]["kind"] == "status"
        assert done.status is Status.FINISHED
        assert done.finished
        assert stream[(done.outcome_seq or 0) - 1]["payload"] == "done"
        assert await store.executions.count_by_status() == {"finished": 1}

    check(body)


def test_nothing_comes_after_the_final_status(check: Callable[[Check], None]) -> None:
    """Late events, another end and another assignment are all refused."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        assert await store.executions.settle(
            execution.fid, Status.ERROR, {"type": "T", "message": "m"}
        )
        before = await events(store, execution)
        [ack] = await store.events.append([batch(execution.fid, 1, "late", runner="r1")])
        assert ack.closed
        assert not await store.executions.settle(execution.fid, Status.CANCELLED)
        assert not await store.executions.assign(execution.fid, "r2")
        assert not await store.executions.requeue(execution.fid, "r1")
        assert await events(store, execution) == before
        done = await store.executions.get(execution.fid)
        assert done.error == {"type": "T", "message": "m"}

    check(body)


def test_a_repeated_batch_adds_nothing_and_its_rest_is_taken(
    check: Callable[[Check], None],
) -> None:
    """What was seen is dropped by number; new events at a batch's end are kept."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        fid = execution.fid
        await store.events.append([batch(fid, 1, "a", "b")])
        [ack] = await store.events.append([batch(fid, 1, "a", "b")])
        assert ack.last == 2
        [ack] = await store.events.append([batch(fid, 2, "b", "c")])
        assert ack.last == 3
        stream = await events(store, execution)
        assert [e["payload"] for e in stream if e["kind"] == "stdout"] == ["a", "b", "c"]

    check(body)


def test_a_gap_is_refused_with_its_status(check: Callable[[Check], None]) -> None:
    """A batch that came too early leaves no trace, and says from where to send again."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        early = batch(execution.fid, 3, "c", runner="r1", status=Status.FINISHED, kind=Kind.FINAL)
        [ack] = await store.events.append([early])
        assert (ack.last, ack.closed) == (0, False)
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING

    check(body)


def test_another_runner_is_fenced_off(check: Callable[[Check], None]) -> None:
    """Only the runner that an execution was given to may write and end it."""

    async def body(store: Store) -> None:
        execution = await begun(store, "r1")
        ghost = batch(execution.fid, 1, "x", runner="r0", status=Status.FINISHED, kind=Kind.FINAL)
        [ack] = await store.events.append([ghost])
        assert ack.closed
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING

    check(body)


def test_another_attempt_is_fenced_off(check: Callable[[Check], None]) -> None:
    """Also where the same runner has the next one, and sends its last batch again."""

    async def body(store: Store) -> None:
        policy = Policy(retries=1, retry_errors=True, backoff_s=0)
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, policy=policy)
        execution, _ = await store.executions.create(new)
        error = {"type": "E", "message": "m", "traceback": ""}
        last = Batch(
            execution.fid, "p", 1, 1, line.encode(Kind.ERROR, error), "r1", Status.ERROR, 1
        )
        await store.executions.assign(execution.fid, "r1")
        assert not (await store.events.append([last]))[0].closed
        await store.executions.assign(execution.fid, "r1")
        of_a_task = batch(execution.fid, 1, "x", producer="task")
        left = msgspec.structs.replace(of_a_task, attempt=1)
        assert all(ack.closed for ack in await store.events.append([last, left]))
        now = await store.executions.get(execution.fid)
        assert (now.status, now.attempt) == (Status.STARTING, 2)
        [ack] = await store.events.append([msgspec.structs.replace(of_a_task, attempt=2)])
        assert ack.last == 1

    check(body)


def test_only_what_never_began_is_requeued(check: Callable[[Check], None]) -> None:
    """A starting execution may be queued again, once; a running one may not."""

    async def body(store: Store) -> None:
        execution = await launch(store)
        await store.executions.assign(execution.fid, "r1")
        assert not await store.executions.requeue(execution.fid, "r2")
        assert await store.executions.requeue(execution.fid, "r1")
        [ack] = await store.events.append(
            [batch(execution.fid, 1, runner="r1", status=Status.RUNNING)]
        )
        assert ack.closed, "the runner that lost it must not run it"
        assert await store.executions.assign(execution.fid, "r2")
        await store.events.append([batch(execution.fid, 1, runner="r2", status=Status.RUNNING)])
        assert not await store.executions.requeue(execution.fid, "r2")

    check(body)


@pytest.mark.parametrize("began", [False, True])
def test_what_was_asked_to_end_is_not_run_again(
    check: Callable[[Check], None], began: bool
) -> None:
    """Where its runner dies meanwhile it has ended as it was to, whoever was first."""

    async def body(store: Store) -> None:
        error = {"type": "RunnerDied", "message": "m", "traceback": ""}
        execution = await (begun(store) if began else launch(store))
        await store.executions.assign(execution.fid, "r1")
        await store.executions.request_cancel(execution.fid, grace_s=1)
        assert not await store.executions.requeue(execution.fid, "r1")
        assert not await store.executions.lose(execution.fid, "r2", error)
        assert await store.executions.lose(execution.fid, "r1", error)
        assert (await store.executions.get(execution.fid)).status is Status.CANCELLED
        assert (await events(store, execution))[-1]["payload"] == {"status": "cancelled"}

    check(body)


def test_cancelling_in_line_ends_at_once_later_is_noted(check: Callable[[Check], None]) -> None:
    """A queued execution ends `cancelled`; for a running one the wish is kept."""

    async def body(store: Store) -> None:
        queued = await launch(store)
        assert (
            await store.executions.request_cancel(queued.fid, grace_s=1)
        ).status is Status.CANCELLED
        assert not await store.executions.assign(queued.fid, "r1")
        running = await begun(store)
        noted = await store.executions.request_cancel(running.fid, grace_s=2.5)
        assert (noted.status, noted.grace_s) == (Status.RUNNING, 2.5)
        assert noted.cancel_requested

    check(body)


def test_all_of_a_service_is_cancelled_in_pieces(check: Callable[[Check], None]) -> None:
    """What waits is given to no runner from the first moment on; what runs is told of."""

    async def body(store: Store) -> None:
        waiting = [await launch(store) for _ in range(3)]
        running = await begun(store)
        new = NewExecution(flow="other/flow", service="other", release=1, inputs={})
        other, _ = await store.executions.create(new)
        assert await store.executions.request_cancels("svc", grace_s=2) == [running.fid]
        for execution in waiting:
            assert not await store.executions.assign(execution.fid, "r1")
        assert await store.executions.assign(other.fid, "r1")
        assert await store.executions.end_waiting("svc", most=2) == [
            each.fid for each in waiting[:2]
        ]
        assert await store.executions.end_waiting("svc", most=2) == [waiting[2].fid]
        assert await store.executions.end_waiting("svc", most=2) == []
        for execution in waiting:
            now = await store.executions.get(execution.fid)
            assert (now.status, now.started) == (Status.CANCELLED, None)
            assert (await events(store, execution))[-1]["payload"] == {"status": "cancelled"}
        assert (await store.executions.get(running.fid)).grace_s == 2
        assert not (await store.executions.get(other.fid)).cancel_requested

    check(body)


def test_executions_are_found_by_prefix_and_latest(check: Callable[[Check], None]) -> None:
    """A unique prefix is enough; an ambiguous or unknown one says so."""

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


def test_pages_stay_right_while_executions_are_added(check: Callable[[Check], None]) -> None:
    """Following cursors gives each older execution once, newest first, filters applied."""

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


def test_what_runs_of_a_flow_is_found_among_thousands_that_ran(tmp_path: Path) -> None:
    """Without looking at them: what there is none of takes no longer."""

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


def test_a_page_is_no_larger_than_fits_into_memory(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand executions with large inputs, or locks with large data: by and by, each once."""
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


def test_a_proof_is_in_no_list_and_is_forgotten(check: Callable[[Check], None]) -> None:
    """Nobody meets it, also where a killed control plane has left it."""

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


def test_chunks_are_read_both_ways_within_a_budget(check: Callable[[Check], None]) -> None:
    """Reads go on from any seq, and stop when the budget is spent."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        for number in range(1, 21):
            await store.events.append([batch(execution.fid, number, f"{number}" * 50)])
        some = await store.events.after(execution.id, 4, budget_bytes=300)
        assert 1 <= len(some) < 10
        assert some[0].first == 5
        back = await store.events.before(execution.id, 10, budget_bytes=1)
        assert [chunk.last for chunk in back] == [9]
        assert await store.events.after(execution.id, 10_000, budget_bytes=1) == []

    check(body)


def test_releases_switch_in_one_step(check: Callable[[Check], None]) -> None:
    """Numbers count per service, one release is live, a failed one changes nothing."""

    async def body(store: Store) -> None:
        async def make(service: str = "svc") -> int:
            release = await store.releases.create(
                service, bundle="b", fingerprint="f", manifest=manifest(), by="me"
            )
            assert release.status == "starting"
            return release.number

        assert await make() == 1
        assert await store.releases.live("svc") is None
        await store.releases.go_live("svc", 1, [flow("x")])
        assert [await make(), await make("other")] == [2, 1]
        await store.releases.fail("svc", 2, ReleaseFailure(message="no"))
        live = await store.releases.live("svc")
        assert live is not None
        assert (live.number, live.flows) == (1, (flow("x"),))
        await store.releases.go_live("svc", await make(), [])
        assert [r.number for r in await store.releases.with_status("retired")] == [1]
        assert (await store.releases.get("svc", 2)).error == ReleaseFailure(message="no")
        with pytest.raises(NotFoundError):
            await store.releases.get("svc", 99)

    check(body)


def test_a_newer_release_ends_those_that_are_starting(check: Callable[[Check], None]) -> None:
    """In the same commit, with who did it; what is live, and other services, are left alone."""

    async def body(store: Store) -> None:
        async def make(service: str = "svc", by: str = "ada") -> int:
            about = {"bundle": "b", "fingerprint": "f", "manifest": manifest()}
            return (await store.releases.create(service, by=by, fallback=False, **about)).number

        await make()
        await store.releases.go_live("svc", 1, [])
        await make()
        await make("other")
        assert await make(by="bob") == 3
        second = await store.releases.get("svc", 2)
        assert second.status == "failed"
        assert second.error is not None
        assert "bob deployed release 3" in second.error.message
        assert not second.has_closed, "what serves goes on"
        assert [(r.service, r.number) for r in await store.releases.with_status("starting")] == [
            ("other", 1),
            ("svc", 3),
        ]
        live = await store.releases.live("svc")
        assert live is not None
        assert live.number == 1
        assert (await store.releases.go_live("svc", 2, [])).status == "failed", "it is too late"

    check(body)


def test_keys_are_known_by_their_digest(check: Callable[[Check], None]) -> None:
    """A key is found by its hash only; one of the same name replaces it."""

    async def body(store: Store) -> None:
        assert not await store.keys.exist()
        old = Key(name="admin", digest=b"1" * 32, scopes=("admin",), created="")
        await store.keys.put(old)
        new = {"digest": b"2" * 32, "scopes": ("read", "launch"), "flows": ("svc/*",)}
        await store.keys.put(msgspec.structs.replace(old, **new, former=b"3" * 32))
        assert await store.keys.exist()
        assert await store.keys.find(b"1" * 32) is None
        key = await store.keys.find(b"2" * 32)
        assert key is not None
        assert (key.scopes, key.flows) == (("read", "launch"), ("svc/*",))
        assert await store.keys.find(b"3" * 32) == key

    check(body)


def test_what_is_out_of_sight_does_not_exist(check: Callable[[Check], None]) -> None:
    """Executions of others, and of other flows: by fid, prefix, `latest` and in lists."""

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


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_was_committed_is_there_after_reopening(kind: str, tmp_path: Path) -> None:
    """Executions, events and secrets survive closing the store."""

    async def write() -> tuple[Execution, bytes]:
        async with opened(kind, tmp_path) as store:
            execution = await begun(store)
            await store.events.append([batch(execution.fid, 1, "kept")])
            return execution, await store.secrets.own("s")

    async def read(execution: Execution, secret: bytes) -> None:
        async with opened(kind, tmp_path) as store:
            stream = await events(store, execution)
            assert stream[-1]["payload"] == "kept"
            assert await store.secrets.own("s") == secret
            assert [e.fid for e in await store.executions.all_open()] == [execution.fid]

    asyncio.run(read(*asyncio.run(write())))


producers = st.lists(st.integers(1, 12), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(counts=producers, seed=st.integers(0, 2**32))
def test_any_interleaving_leaves_each_event_once_in_order(
    kind: str, counts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Batches duplicated, reordered and retried leave each event once, in order, without gaps."""
    rng = random.Random(seed)

    async def deliver(store: Store) -> None:
        execution = await begun(store)
        fid = execution.fid
        held = dict.fromkeys(range(len(counts)), 0)
        wanted = {p: [f"{p}:{n}" for n in range(1, c + 1)] for p, c in enumerate(counts)}
        while any(held[p] < counts[p] for p in held):
            sent = []
            for _ in range(rng.randint(1, 4)):
                # Any stretch of any producer's events: early, late, seen, new or overlapping.
                producer = rng.randrange(len(counts))
                first = rng.randint(1, counts[producer])
                last = rng.randint(first, counts[producer])
                texts = wanted[producer][first - 1 : last]
                sent.append((producer, batch(fid, first, *texts, producer=str(producer))))
            acks = await store.events.append([b for _, b in sent])
            for (producer, _), ack in zip(sent, acks, strict=True):
                assert ack.last >= held[producer]
                held[producer] = ack.last
        stream = await events(store, execution)
        assert [e["seq"] for e in stream] == list(range(1, len(stream) + 1))
        got = [e["payload"] for e in stream if e["kind"] == "stdout"]
        for producer, texts in wanted.items():
            assert [t for t in got if t.startswith(f"{producer}:")] == texts

    async def main() -> None:
        async with opened(kind, tmp_path_factory.mktemp("store")) as store:
            await deliver(store)

    asyncio.run(main())


def test_two_control_planes_cannot_share_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is refused, and told why."""
    monkeypatch.setattr("koco.store.engine.sqlite.engine._LOCK_PATIENCE_S", 0.1)

    async def main() -> None:
        async with opened("sqlite", tmp_path):
            with pytest.raises(ConflictError, match="another control plane"):
                await Store.at(tmp_path / "store.db").open()

    asyncio.run(main())


def test_a_store_of_a_newer_koco_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An older koco must not touch what it does not understand."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9999")

    async def main() -> None:
        with pytest.raises(ConflictError, match="9999"):
            await Store.at(path).open()

    asyncio.run(main())
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_full_disk_refuses_the_write_and_recovers(tmp_path: Path) -> None:
    """An append that finds no room is not acknowledged; with room it succeeds."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            execution = await begun(store)
            big = batch(execution.fid, 1, "x" * 200_000)
            pages = store.engine._db.execute("PRAGMA page_count").fetchone()[0]
            store.engine._db.execute(f"PRAGMA max_page_count = {pages + 1}")
            with pytest.raises(NoRoomError, match="full"):
                await store.events.append([big])
            store.engine._db.execute("PRAGMA max_page_count = 1000000")
            [ack] = await store.events.append([big])
            assert ack.last == 1

    asyncio.run(main())


def test_one_failing_change_takes_no_other_with_it(tmp_path: Path) -> None:
    """Changes that share a transaction fail alone."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            made = await asyncio.gather(
                launch(store),
                store.executions.request_cancel("nosuchfid", grace_s=0),
                launch(store),
                return_exceptions=True,
            )
            assert isinstance(made[1], NotFoundError)
            assert await store.executions.count_by_status() == {"queued": 2}

    asyncio.run(main())


def in_an_hour() -> float:
    return time.time() + 3600


async def locked(store: Store, execution: Execution, lid: str, name: str = "approval") -> Lock:
    return await store.locks.open(
        execution.fid, lid, name=name, data={"page": 1}, expires=in_an_hour()
    )


def test_hidden_values_are_not_in_the_stream(check: Callable[[Check], None]) -> None:
    """Passwords among inputs and answers reach the flow, and no event has them."""

    async def body(store: Store) -> None:
        inputs = {"user": "ada", "code": "s3cret", "other": None}
        new = NewExecution(
            flow="svc/flow", service="svc", release=1, inputs=inputs, hidden=("code", "other")
        )
        execution, _ = await store.executions.create(new)
        await store.executions.assign(execution.fid, "r")
        await store.events.append([batch(execution.fid, 1, runner="r", status=Status.RUNNING)])
        await locked(store, execution, "l1")
        given = Answer(value={"code": "s3cret", "ok": True}, hidden=("code",))
        answered = await store.locks.answer("l1", given, by="ada")
        assert answered.answer == {"code": "s3cret", "ok": True}
        found = await store.executions.get(execution.fid)
        assert found.inputs == inputs
        assert found.hidden == ("code", "other")
        chunks = await store.events.after(found.id, 0, budget_bytes=10**6)
        text = b"".join(chunk.body for chunk in chunks)
        assert b'{"user":"ada","code":"********","other":null}' in text
        assert b'{"code":"********","ok":true}' in text
        assert b"s3cret" not in text

    check(body)


def test_an_execution_awaits_while_a_lock_is_open(check: Callable[[Check], None]) -> None:
    """Statuses and tallies follow its locks, each with its event; of two it waits for both."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        lock = await locked(store, execution, "l1")
        assert (lock.status, lock.fid, lock.data) == ("open", execution.fid, {"page": 1})
        await locked(store, execution, "l2")
        assert (await store.executions.get(execution.fid)).status is Status.AWAITING
        assert await store.executions.count_by_status() == {"awaiting": 1}
        await store.locks.answer("l1", Answer(value={"ok": True}), by="ada")
        assert (await store.executions.get(execution.fid)).status is Status.AWAITING
        answered = await store.locks.answer("l2", Answer(value=None), by="bob")
        assert (answered.status, answered.answer, answered.by) == ("answered", None, "bob")
        assert await store.executions.count_by_status() == {"running": 1}
        stream = await events(store, execution)
        assert statuses(stream) == ["queued", "starting", "running", "awaiting", "running"]
        [first, _] = [e["payload"] for e in stream if e["kind"] == "lock"]
        assert first.pop("expires") == line.timestamp(lock.expires)
        assert first == {"lid": "l1", "name": "approval", "data": {"page": 1}}
        leases = [e["payload"] for e in stream if e["kind"] == "lease"]
        common = {"name": "approval", "outcome": "answered"}
        assert leases == [
            {"lid": "l1", **common, "answer": {"ok": True}, "by": "ada"},
            {"lid": "l2", **common, "answer": None, "by": "bob"},
        ]
        assert [lock.lid for lock in await store.locks.all_of(execution.id)] == ["l1", "l2"]

    check(body)


def test_opening_a_lock_again_changes_nothing(check: Callable[[Check], None]) -> None:
    """A question that is repeated finds its lock, also when it has been answered meanwhile."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        first = await locked(store, execution, "l1")
        before = await events(store, execution)
        assert await locked(store, execution, "l1") == first
        assert await events(store, execution) == before
        await store.locks.answer("l1", Answer(value=0), by="ada")
        assert (await locked(store, execution, "l1")).answer == 0

    check(body)


def test_a_lock_is_answered_once(check: Callable[[Check], None]) -> None:
    """Of two answers in one transaction one counts; the other is told who was first, and when."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        await locked(store, execution, "l1")
        answers = (
            store.locks.answer("l1", Answer(value=number), by=f"user{number}")
            for number in range(2)
        )
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(found[0], Lock)
        assert isinstance(found[1], ConflictError)
        assert f"was answered by user0 at {found[0].settled}" in found[1].message
        assert statuses(await events(store, execution)).count("running") == 2

    check(body)


def test_locks_expire_by_the_clock_that_is_given(check: Callable[[Check], None]) -> None:
    """What is due is settled with its event, nothing else is; late answers are refused."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        now = time.time()
        for lid, expires in (("late", now - 1), ("soon", now + 10), ("never", now + 9999)):
            await store.locks.open(execution.fid, lid, name="x", data=None, expires=expires)
        with pytest.raises(ConflictError, match="expired at"):
            await store.locks.answer("late", Answer(value=1), by="ada")
        assert await store.locks.next_expiry() == now - 1
        assert [lock.lid for lock in await store.locks.expire(now)] == ["late"]
        assert await store.locks.next_expiry() == now + 10
        assert [lock.status for lock in await store.locks.expire(now + 20)] == ["expired"]
        assert await store.locks.expire(now + 20) == []
        assert (await store.executions.get(execution.fid)).status is Status.AWAITING
        leases = [e["payload"] for e in await events(store, execution) if e["kind"] == "lease"]
        assert leases == [
            {"lid": lid, "name": "x", "outcome": "expired"} for lid in ("late", "soon")
        ]

    check(body)


def test_an_execution_that_ends_withdraws_its_locks(check: Callable[[Check], None]) -> None:
    """However it ends: nobody can answer, nothing is opened any more, and no timer is left."""

    async def body(store: Store) -> None:
        settled, finished, other = [await begun(store) for _ in range(3)]
        for number, execution in enumerate((settled, finished, other)):
            await locked(store, execution, f"l{number}")
        await store.executions.settle(settled.fid, Status.CANCELLED)
        await store.events.append([batch(finished.fid, 1, runner="r1", status=Status.FINISHED)])
        for lid in ("l0", "l1"):
            assert (await store.locks.get(lid)).status == "withdrawn"
            with pytest.raises(ConflictError, match="withdrawn at"):
                await store.locks.answer(lid, Answer(value=1), by="ada")
        with pytest.raises(ConflictError, match="has ended"):
            await locked(store, settled, "l9")
        assert [lock.lid for lock in (await store.locks.page()).items] == ["l2"]
        assert statuses(await events(store, finished))[-2:] == ["awaiting", "finished"]

    check(body)


def test_a_flow_may_give_a_lock_up(check: Callable[[Check], None]) -> None:
    """The execution runs on, its stream says so; an answer that was there already stays."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        await locked(store, execution, "l1")
        assert (await store.locks.withdraw("l1")).status == "withdrawn"
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING
        [lease] = [e["payload"] for e in await events(store, execution) if e["kind"] == "lease"]
        assert lease == {"lid": "l1", "name": "approval", "outcome": "withdrawn"}
        await locked(store, execution, "l2")
        await store.locks.answer("l2", Answer(value="yes"), by="ada")
        assert (await store.locks.withdraw("l2")).answer == "yes"

    check(body)


def test_batches_leave_an_awaiting_execution_as_it_is(check: Callable[[Check], None]) -> None:
    """It writes on while it waits; a runner's `running`, repeated, does not wake it."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        await locked(store, execution, "l1")
        for status in (None, Status.RUNNING, Status.AWAITING, Status.QUEUED):
            await store.events.append([batch(execution.fid, 1, "a", runner="r1", status=status)])
            assert (await store.executions.get(execution.fid)).status is Status.AWAITING
        assert not await store.executions.requeue(execution.fid, "r1")
        assert not await store.executions.assign(execution.fid, "r2")
        await store.locks.answer("l1", Answer(value=1), by="ada")
        await store.events.append([batch(execution.fid, 1, runner="r1", status=Status.AWAITING)])
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING

    check(body)


def test_open_locks_are_paged_oldest_first(check: Callable[[Check], None]) -> None:
    """What is answered between two pages moves no other; a flow's own can be asked for."""

    async def body(store: Store) -> None:
        executions = [await begun(store) for _ in range(5)]
        for number, execution in enumerate(executions):
            await locked(store, execution, f"l{number}")
        first = await store.locks.page(limit=2)
        await store.locks.answer("l1", Answer(value=1), by="ada")
        second = await store.locks.page(limit=2, cursor=first.next)
        third = await store.locks.page(limit=2, cursor=second.next)
        assert [[lock.lid for lock in page.items] for page in (first, second, third)] == [
            ["l0", "l1"],
            ["l2", "l3"],
            ["l4"],
        ]
        assert third.next is None
        assert (await store.locks.page(flow="svc/other")).items == []
        assert len((await store.locks.page(flow="svc/flow")).items) == 4
        assert [lock.lid for lock in (await store.locks.page(status="answered")).items] == ["l1"]
        with pytest.raises(UsageError, match="not a cursor"):
            await store.locks.page(cursor="17")

    check(body)


SHA = "ab" * 32
FREE = FileLimits()


def new_file(path: str, sha256: str = SHA, size_bytes: int = 3) -> NewFile:
    return NewFile(path=path, sha256=sha256, size_bytes=size_bytes)


def test_a_launch_brings_its_files(check: Callable[[Check], None]) -> None:
    """Rows and `upload` events are there with the execution, ahead of its first status."""

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


def test_only_what_was_uploaded_can_be_attached(check: Callable[[Check], None]) -> None:
    """By its uploader, with its size; and refused changes leave neither row nor event."""

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


def test_files_are_found_by_folder_and_folders_by_their_whole_name(
    check: Callable[[Check], None],
) -> None:
    """`in/a` is neither `in/ab` nor `in/a.txt`; what is removed is below it only."""

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
def test_limits_hold_also_for_many_at_once(
    check: Callable[[Check], None], limits: FileLimits, said: str
) -> None:
    """Of eight attached at the same moment no more pass than may; a replaced one is not counted."""

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


def test_blobs_are_unnamed_once_neither_file_nor_upload_names_them(
    check: Callable[[Check], None],
) -> None:
    """An upload counts until it is older than what is asked for."""

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


def test_a_store_that_could_not_be_opened_holds_nothing(tmp_path: Path) -> None:
    """It is said which, and opened once what was in its way has gone."""

    async def main() -> None:
        path = tmp_path / "store.db"
        path.mkdir()
        with pytest.raises(StoreError, match=f"{path} could not be opened") as caught:
            await Store.at(path).open()
        assert caught.value.hint
        path.rmdir()
        store = Store.at(path)
        await store.open()
        await store.close()

    asyncio.run(main())


async def ended(store: Store, **fields: Any) -> Execution:
    """Make an execution that has ended, with a result or with an error."""
    result, error = fields.pop("result", "done"), fields.pop("error", None)
    new = NewExecution(
        **{"flow": "svc/flow", "service": "svc", "release": 1, "inputs": {}, **fields}
    )
    execution, _ = await store.executions.create(new)
    await store.executions.assign(execution.fid, "r")
    kind, payload = (Kind.ERROR, error) if error else (Kind.FINAL, result)
    status = Status.ERROR if error else Status.FINISHED
    end = Batch(execution.fid, "p", 1, 1, line.encode(kind, payload), "r", status)
    await store.events.append([end])
    return await store.executions.get(execution.fid)


async def fids(store: Store, sight: Sight = EVERYTHING, **wanted: Any) -> list[str]:
    page = await store.executions.page(Filter(**wanted), sight=sight, limit=1000)
    assert page.next is None
    return [each.fid for each in page.items]


USERS, FLOWS, TAGS = ("ada", "bob"), ("a/x", "a/y", "b/x"), ("t", "u", "v")


def fits(execution: Execution, wanted: Filter, sight: Sight) -> bool:
    """Say what a filter means, in other words than SQL's."""
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
def test_pages_of_any_filter_have_each_execution_once_while_others_come_and_go(
    kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What was there at first and was not deleted before its turn, newest first; nothing else."""
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


def test_a_page_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """With the cursor of the place, and perhaps with nothing on it: the next goes on."""

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


def test_times_are_those_of_the_clock_even_where_it_is_set_back(
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


def test_words_are_found_in_inputs_results_and_errors(check: Callable[[Check], None]) -> None:
    """All of them at once; phrases, beginnings, numbers and names, without accents or case."""

    async def body(store: Store) -> None:
        one = await ended(
            store, inputs={"topic": "Crème brûlée", "n": 4711}, result={"a": ["x-ray"]}
        )
        error = {"type": "ValueError", "message": "no such customer"}
        two = await ended(store, inputs={"topic": "line one\nline two"}, error=error)
        assert await fids(store, search="creme 4711") == [one.fid]
        assert await fids(store, search="topic") == [two.fid, one.fid]
        assert await fids(store, search="x-ray BRULEE") == [one.fid]
        assert await fids(store, search='"such customer"') == [two.fid]
        assert await fids(store, search='"customer such"') == []
        assert await fids(store, search="custom*") == [two.fid]
        assert await fids(store, search="custom") == []
        assert await fids(store, search="valueerror two") == [two.fid]
        assert await fids(store, search="creme customer") == []

    check(body)


def test_what_nobody_is_shown_is_not_found(check: Callable[[Check], None]) -> None:
    """Neither by its words nor in the index at all."""

    async def body(store: Store) -> None:
        inputs = {"who": "ada", "password": "hunter2"}
        mine = await ended(store, inputs=inputs, hidden=("password",))
        assert await fids(store, search="ada") == [mine.fid]
        assert await fids(store, search="hunter2") == []
        assert await fids(store, search="hunt*") == []

    check(body)


@given(text=st.text(max_size=20))
@settings(max_examples=examples(60))
def test_no_search_is_an_error_of_the_index(text: str) -> None:
    """Whatever is typed: it is a search, or refused as one that looks for nothing."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE search USING fts5 (text)")
    for typed in (text, f'"{text}', f"{text}*", f"a {text} NEAR(", f"text:{text}"):
        try:
            match = TextIndex().match(search.parse(typed))
        except UsageError:
            continue
        db.execute("SELECT rowid FROM search WHERE search MATCH ?", (match,)).fetchall()
    db.close()


def test_a_search_that_takes_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait for it; who asked is told what would be quicker."""
    monkeypatch.setattr(search, "MOST_S", 0.001)
    monkeypatch.setattr(readers, "_STEPS", 100)

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            mine = await ended(store)
            dice = random.Random(1)

            def fill(db: sqlite3.Connection) -> None:
                words = [
                    "".join(dice.choices("abcdefghij", k=dice.randint(2, 8))) for _ in range(20_000)
                ]
                db.executemany(
                    "INSERT INTO search (text) VALUES (?)",
                    ((" ".join(dice.choices(words, k=60)),) for _ in range(5000)),
                )

            await store.engine.write(fill)
            with pytest.raises(TimedOutError, match=r"takes more than 0\.001 s to find") as caught:
                await store.executions.page(
                    Filter(search=" ".join(f"{c}*" for c in "abcdefghij" * 3))
                )
            assert "longer words" in (caught.value.hint or "")
            monkeypatch.undo()
            assert await fids(store, search="done") == [mine.fid]

    asyncio.run(main())
    with pytest.raises(UsageError, match="32 words and phrases at most"):
        search.parse("a " * 33)


def test_without_an_index_only_searches_are_refused(tmp_path: Path) -> None:
    """As where Python's SQLite has no FTS5."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            mine = await ended(store)
            await store.engine.write(lambda db: db.execute("DROP TABLE search"))
            with pytest.raises(NoSearchError, match="FTS5"):
                await store.executions.page(Filter(search="done"))
            assert await fids(store, user="") == [mine.fid]
            assert not await store.executions.index()
            await store.executions.delete(mine.fid)

    asyncio.run(main())


def test_what_is_deleted_leaves_nothing_but_its_name(check: Callable[[Check], None]) -> None:
    """No events, files, locks or words; its blobs are free; only what has ended goes."""

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


def test_changes_have_each_execution_at_its_latest(check: Callable[[Check], None]) -> None:
    """In the order of that; a cursor is good for ever, deletions are told to who saw it."""

    async def body(store: Store) -> None:
        async def told(cursor: str | None, sight: Sight = EVERYTHING) -> list[tuple[str, str]]:
            page = await store.changes.page(cursor=cursor, sight=sight, limit=1000)
            assert page.is_last
            return [(c.fid, c.execution.status if c.execution else "gone") for c in page.items]

        one, two = await launch(store), await ended(store, user="ada", flow="svc/other")
        cursor = await store.changes.latest()
        assert await told(cursor) == []
        assert await told(None) == [(one.fid, "queued"), (two.fid, "finished")]
        await store.executions.settle(one.fid, Status.CANCELLED)
        assert await told(None) == [(two.fid, "finished"), (one.fid, "cancelled")]
        assert await told(cursor) == [(one.fid, "cancelled")]
        # The newest one's id is not another's, whose changes would take its place.
        await store.executions.delete(two.fid)
        new = await launch(store)
        assert await told(cursor) == [
            (one.fid, "cancelled"),
            (two.fid, "gone"),
            (new.fid, "queued"),
        ]
        assert await told(cursor, Sight("ada")) == [(two.fid, "gone")]
        assert await told(cursor, Sight("bob")) == []
        assert await told(cursor, Sight(None, ("svc/oth*",))) == [(two.fid, "gone")]
        first = await store.changes.page(cursor=None, limit=1)
        assert [each.fid for each in first.items] == [one.fid]
        assert not first.is_last
        await store.executions.create(NewExecution(flow=PROOF, service="", release=0, inputs={}))
        await store.executions.forget_proofs()
        assert len(await told(cursor)) == 3

    check(body)


def test_an_execution_is_looked_for_among_so_many_that_begin_alike(tmp_path: Path) -> None:
    """A beginning that fits more is too short, whatever of it is in sight; a whole fid is not."""

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
