"""Streams of events: each event once, in order, without gaps."""

import asyncio
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.progress import Progress
from koco.events.wire import Batch
from koco.store.model import (
    Answer,
    NewExecution,
    Policy,
)
from koco.store.store import Store
from tests.support.stores import (
    KINDS,
    Check,
    batch,
    begun,
    events,
    locked,
    opened,
)
from tests.unit.conftest import examples


def test_stores_only_the_new_events_of_a_repeated_batch(
    check: Callable[[Check], None],
) -> None:
    """Events that are already stored are dropped by their number."""

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


def test_refuses_a_batch_that_would_leave_a_gap(check: Callable[[Check], None]) -> None:
    """It leaves no trace, its status included. The answer says from where to send again."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        early = batch(execution.fid, 3, "c", runner="r1", status=Status.FINISHED, kind=Kind.FINAL)
        [ack] = await store.events.append([early])
        assert (ack.last, ack.closed) == (0, False)
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING

    check(body)


def test_refuses_events_of_another_runner(check: Callable[[Check], None]) -> None:
    """Only the runner that has an execution may write to it and end it."""

    async def body(store: Store) -> None:
        execution = await begun(store, "r1")
        ghost = batch(execution.fid, 1, "x", runner="r0", status=Status.FINISHED, kind=Kind.FINAL)
        [ack] = await store.events.append([ghost])
        assert ack.closed
        assert (await store.executions.get(execution.fid)).status is Status.RUNNING

    check(body)


def test_refuses_events_of_a_former_attempt(check: Callable[[Check], None]) -> None:
    """Even if the same runner has the next one, and sends its last batch again."""

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


def test_reads_chunks_forwards_and_backwards_within_a_budget(
    check: Callable[[Check], None],
) -> None:
    """A read begins at any seq, and stops when the budget is spent."""

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


producers = st.lists(st.integers(1, 12), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(counts=producers, seed=st.integers(0, 2**32))
def test_any_interleaving_of_batches_leaves_each_event_once_in_order(
    kind: str, counts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Batches that are duplicated, reordered and retried leave no gaps either."""
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


def test_masks_hidden_values_in_the_stream(check: Callable[[Check], None]) -> None:
    """Passwords in inputs and answers reach the flow, but no event."""

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


def test_the_last_progress_of_a_batch_is_in_the_row(check: Callable[[Check], None]) -> None:
    """However many came, and it stays when the execution has ended."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        assert execution.progress is None
        told = [line.encode(Kind.PROGRESS, {"done": n, "total": 9}) for n in range(5)]
        text = b"\n".join([*told, line.encode(Kind.STDOUT, "x")])
        await store.events.append([Batch(execution.fid, "p", 1, 6, text)])
        assert (await store.executions.get(execution.fid)).progress == Progress(4, 9)
        await store.events.append([batch(execution.fid, 7, "no progress")])
        odd = Batch(execution.fid, "p", 8, 1, line.encode(Kind.PROGRESS, {"done": "x"}))
        await store.events.append([odd])
        await store.executions.settle(execution.fid, Status.CANCELLED)
        [listed] = (await store.executions.page()).items
        assert listed.progress == Progress(4, 9)

    check(body)
