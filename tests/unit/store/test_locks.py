"""Locks, and the executions that wait for them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from koco.errors import (
    ConflictError,
    UsageError,
)
from koco.events import line
from koco.events.model import Status
from koco.store.model import (
    Answer,
    Lock,
)
from koco.store.store import Store
from koco.tokens import MASK
from tests.support.durable_executions import started
from tests.support.stores import (
    Check,
    batch,
    begun,
    events,
    locked,
    statuses,
)


def test_an_execution_awaits_while_it_has_an_open_lock(check: Callable[[Check], None]) -> None:
    """Its status and the counts follow its locks, each with its event. It waits for both of two."""

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
    """A repeated call returns the lock, even if it has been answered meanwhile."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        first = await locked(store, execution, "l1")
        before = await events(store, execution)
        assert await locked(store, execution, "l1") == first
        assert await events(store, execution) == before
        await store.locks.answer("l1", Answer(value=0), by="ada")
        assert (await locked(store, execution, "l1")).answer == 0

    check(body)


def test_accepts_one_answer(check: Callable[[Check], None]) -> None:
    """Of two answers in one transaction, the first counts. The error says whose, and when."""

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


def test_expires_locks_by_the_given_time(check: Callable[[Check], None]) -> None:
    """Those that are due are settled with their event, and late answers are refused."""

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


def test_withdraws_the_locks_of_an_execution_that_ends(check: Callable[[Check], None]) -> None:
    """Nobody can answer them, no new one opens, and no timer is left."""

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


def test_a_flow_can_withdraw_its_lock(check: Callable[[Check], None]) -> None:
    """The execution resumes, and its stream says so. An answer that was there already stays."""

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


def test_batches_do_not_change_the_status_of_an_awaiting_execution(
    check: Callable[[Check], None],
) -> None:
    """It can write while it waits. A repeated `running` of its runner does not wake it."""

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


def test_pages_of_open_locks_are_oldest_first(check: Callable[[Check], None]) -> None:
    """A lock that is answered between two pages moves no other. A flow can be given."""

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


@pytest.mark.parametrize(
    ("end", "status", "preview"),
    [
        ("answer", "finished", '{"word":"•••"}'),
        ("expire", "expired", ""),
        ("withdraw", "withdrawn", ""),
        ("end", "withdrawn", ""),
    ],
)
def test_a_lock_at_a_place_is_a_step(
    check: Callable[[Check], None], end: str, status: str, preview: str
) -> None:
    """It waits, and ends with the lock; its time is not a timer's. One without a place is none."""

    async def body(store: Store) -> None:
        execution = await started(store)
        lock: dict[str, Any] = {"name": "ok", "data": 1, "expires": time.time() + 60}
        place = {"key": "lock.ok:0", "position": 7}
        await store.locks.open(execution.fid, "l1", arguments="1", **place, **lock)
        await store.locks.open(execution.fid, "l2", **lock)
        [step] = (await store.steps.page_of(execution.id)).items
        assert (step.key, step.name, step.kind) == ("lock.ok:0", "lock.ok", "lock")
        assert (step.status, step.position, step.arguments) == ("waiting", 7, "1")
        assert step.due == lock["expires"]
        assert await store.steps.next_due() is None
        assert await store.steps.expire(time.time() + 99) == []
        match end:
            case "answer":
                answer = Answer(value={"word": "x"}, hidden=("word",))
                await store.locks.answer("l1", answer, by="ada")
            case "expire":
                await store.locks.expire(time.time() + 61)
            case "withdraw":
                await store.locks.withdraw("l1")
            case "end":
                await store.executions.settle(execution.fid, Status.CANCELLED)
        [step] = (await store.steps.page_of(execution.id)).items
        assert (step.status, step.preview.replace(MASK, "•••")) == (status, preview)
        assert step.duration_s is not None
        assert (await store.steps.past(execution.id, marks=False)).steps == []

    check(body)
