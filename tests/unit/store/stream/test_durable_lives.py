"""Durable executions: parked, woken, resumed and tried again."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from koco.events.model import Kind, Status
from koco.events.steps import StepStatus
from koco.events.used import Used
from koco.store.model import Answer, Execution, FailureEvent, NewExecution, Policy, Sight, Topic
from koco.store.store import Store
from tests.support.durable_executions import (
    about,
    call,
    heard,
    parked,
    receive,
    record,
    recorded,
    resumed,
    sleep,
    started,
)
from tests.support.releases import flow, manifest
from tests.support.stores import Check, batch, events, locked, statuses

DIED = FailureEvent(type="RunnerDied", message="its process was killed")


async def again(store: Store, execution: Execution) -> Execution:
    return await store.executions.get(execution.fid)


async def last_status(store: Store, execution: Execution) -> dict[str, object]:
    stream = await events(store, execution)
    found: dict[str, object] = [e["payload"] for e in stream if e["kind"] == "status"][-1]
    return found


def test_parks_an_execution_that_only_waits(check: Callable[[Check], None]) -> None:
    """It has no runner, is not loaded, and its former runner may not write to it."""

    async def body(store: Store) -> None:
        execution = await parked(store, await started(store), sleep())
        assert (execution.status, execution.parked, execution.runner) == (
            Status.SLEEPING,
            True,
            "",
        )
        assert await store.executions.all_open() == []
        assert await store.executions.count_by_status() == {"sleeping": 1}
        assert await store.executions.count_open("svc") == {"sleeping": 1}
        assert await store.executions.count_parked("svc") == 1
        assert await store.executions.count_parked("other") == 0
        late = batch(execution.fid, 1, "late", producer="p2", runner="r1")
        [ack] = await store.events.append([late])
        assert ack.closed
        assert await last_status(store, execution) == {"status": "sleeping", "parked": True}

    check(body)


def test_parks_only_what_can_wake(check: Callable[[Check], None]) -> None:
    """Not without waits, with unknown ones, for another runner, or if it is to end."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        await store.steps.open_wait(fid, sleep())
        for runner, keys, lids in (
            ("r1", [], []),
            ("r1", ["sleep:0", "sleep:1"], []),
            ("r1", ["sleep:0"], ["no-lock"]),
            ("r2", ["sleep:0"], []),
        ):
            assert not await store.executions.park(fid, runner, keys=keys, lids=lids)
        await store.executions.request_cancel(fid, grace_s=1)
        assert not await store.executions.park(fid, "r1", keys=["sleep:0"], lids=[])
        plain = await started(store, policy=Policy())
        await store.steps.open_wait(plain.fid, sleep())
        assert not await store.executions.park(plain.fid, "r1", keys=["sleep:0"], lids=[])
        assert (await again(store, plain)).status is Status.RUNNING

    check(body)


def test_a_parked_execution_keeps_what_it_used(check: Callable[[Check], None]) -> None:
    """So its next process can add to it."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.steps.open_wait(execution.fid, sleep())
        used = Used(wall_s=2.0, cpu_s=1.0, peak_memory_bytes=10, ray_tasks=1)
        keys = ["sleep:0"]
        assert await store.executions.park(execution.fid, "r1", keys=keys, lids=[], used=used)
        told = (await again(store, execution)).used
        assert told is not None and (told.wall_s, told.cpu_s, told.ray_tasks) == (2.0, 1.0, 1)

    check(body)


@pytest.mark.parametrize("how", ["timer", "message", "answer", "expiry"])
def test_what_it_waits_for_wakes_it(check: Callable[[Check], None], how: str) -> None:
    """It is queued in the same change, with the reason in its stream, and told."""
    reasons = {
        "timer": "the time of sleep:0 has come",
        "message": "the message 'note' arrived",
        "answer": "the lock 'ok' was answered",
        "expiry": "the lock 'ok' expired",
    }

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        await recorded(store, execution, record("a:0", 1))
        await store.steps.open_wait(fid, sleep(position=2))
        await store.steps.open_wait(fid, receive(position=3))
        await store.locks.open(
            fid, "l1", name="ok", data=1, expires=time.time() + 60, key="lock.ok:0"
        )
        keys = ["sleep:0", "receive.note:0"]
        assert await store.executions.park(fid, "r1", keys=keys, lids=["l1"])
        execution = await again(store, execution)
        assert (execution.status, execution.attempt, execution.resumed) == (Status.AWAITING, 2, 0)
        assert execution.tries == 1
        news = heard(store)
        match how:
            case "timer":
                await store.steps.expire(time.time() + 61)
            case "message":
                await store.steps.send(fid, "note", 1, by="ada")
            case "answer":
                await store.locks.answer("l1", Answer(value=1), by="ada")
            case "expiry":
                await store.locks.expire(time.time() + 61)
        execution = await again(store, execution)
        assert (execution.status, execution.parked) == (Status.QUEUED, False)
        assert (execution.attempt, execution.tries, execution.resumed) == (2, 1, 1)
        assert about(news, Topic.WOKEN) == [fid]
        status = await last_status(store, execution)
        after = "sleep:0" if how == "timer" else "receive.note:0" if how == "message" else "a:0"
        assert status == {
            "status": "queued",
            "resumed": 1,
            "after": after,
            "because": reasons[how],
        }
        assert [each.fid for each in await store.executions.all_open()] == [fid]

    check(body)


def test_a_lock_without_a_place_does_not_outlive_the_process(
    check: Callable[[Check], None],
) -> None:
    """It cannot be found again, so nothing is parked for it, and it ends when all else waits."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.steps.open_wait(execution.fid, sleep())
        await locked(store, execution, "l1")
        keys = ["sleep:0"]
        assert not await store.executions.park(execution.fid, "r1", keys=keys, lids=["l1"])
        assert await store.executions.park(execution.fid, "r1", keys=keys, lids=[])
        assert (await store.locks.get("l1")).status == "withdrawn"
        assert (await again(store, execution)).status is Status.SLEEPING

    check(body)


def test_is_queued_at_once_if_its_wait_is_over(check: Callable[[Check], None]) -> None:
    """What ends just before it is parked still wakes it. Its runner has lost it all the same."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.steps.open_wait(execution.fid, receive())
        await store.steps.send(execution.fid, "note", 1, by="ada")
        news = heard(store)
        keys = ["receive.note:0"]
        assert await store.executions.park(execution.fid, "r1", keys=keys, lids=[])
        execution = await again(store, execution)
        assert (execution.status, execution.runner, execution.resumed) == (Status.QUEUED, "", 1)
        assert about(news, Topic.WOKEN) == [execution.fid]
        assert statuses(await events(store, execution))[-2:] == ["sleeping", "queued"]

    check(body)


def test_a_replayed_execution_awaits_its_lock_again(check: Callable[[Check], None]) -> None:
    """It runs until it comes to the lock, which is the same one: nobody is asked twice."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        lock: dict[str, Any] = {
            "name": "ok",
            "data": 1,
            "key": "lock.ok:0",
            "expires": time.time() + 60,
        }
        await store.locks.open(fid, "l1", **lock)
        await store.steps.open_wait(fid, sleep())
        assert await store.executions.park(fid, "r1", keys=["sleep:0"], lids=["l1"])
        await store.steps.expire(time.time() + 60.5)
        execution = await resumed(store, await again(store, execution), "r2")
        assert execution.status is Status.RUNNING
        assert (await store.locks.open(fid, "l1", **lock)).status == "open"
        assert (await again(store, execution)).status is Status.AWAITING
        await store.locks.answer("l1", Answer(value=1), by="ada")
        stream = await events(store, execution)
        assert [e["kind"] for e in stream].count("lock") == 1
        assert statuses(stream)[-4:] == ["starting", "running", "awaiting", "running"]

    check(body)


def test_time_does_not_pass_while_it_is_parked(check: Callable[[Check], None]) -> None:
    """Its deadline stops, and goes on where it was."""

    async def body(store: Store) -> None:
        policy = Policy(durable=True, timeout_s=100)
        execution = await parked(store, await started(store, policy=policy), sleep())
        assert await store.executions.next_deadline() is None
        await store.steps.expire(time.time() + 61)
        execution = await resumed(store, await again(store, execution), "r2")
        assert execution.deadline is not None
        assert execution.deadline == pytest.approx(time.time() + 100, abs=5)

    check(body)


def test_cancelling_ends_a_parked_execution_at_once(check: Callable[[Check], None]) -> None:
    """It has nobody to ask."""

    async def body(store: Store) -> None:
        execution = await parked(store, await started(store), sleep())
        cancelled = await store.executions.request_cancel(execution.fid, grace_s=9)
        assert (cancelled.status, cancelled.parked) == (Status.CANCELLED, False)
        assert cancelled.tries == 1
        assert await store.steps.next_due() is None

    check(body)


def test_cancelling_a_service_ends_its_parked_executions(check: Callable[[Check], None]) -> None:
    """Runners are not asked for them. They are found even after a restart."""

    async def body(store: Store) -> None:
        execution = await parked(store, await started(store), sleep())
        assert await store.executions.withdrawn_services() == []
        assert await store.executions.request_cancels("svc", grace_s=1) == []
        assert await store.executions.withdrawn_services() == ["svc"]
        assert await store.executions.end_waiting("svc", most=10) == [execution.fid]
        assert await store.executions.end_waiting("svc", most=10) == []
        assert (await again(store, execution)).status is Status.CANCELLED

    check(body)


def test_resumes_after_the_death_of_its_process(check: Callable[[Check], None]) -> None:
    """Queued with its waits, locks and steps; the lock of a Ray task goes with the task."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        await recorded(store, execution, record("a:0", 1), record("b:0", 2, StepStatus.RUNNING))
        await store.steps.open_wait(fid, sleep(position=3))
        for lid, key in (("l1", "lock.ok:0"), ("l2", "")):
            await store.locks.open(fid, lid, name="ok", data=1, expires=time.time() + 60, key=key)
        assert await store.executions.lose(fid, "r1", DIED, because="it was killed")
        execution = await again(store, execution)
        assert (execution.status, execution.runner) == (Status.QUEUED, "")
        assert (execution.attempt, execution.tries, execution.resumed) == (2, 1, 1)
        assert execution.not_before is None
        assert await last_status(store, execution) == {
            "status": "queued",
            "resumed": 1,
            "after": "a:0",
            "because": "it was killed",
        }
        waiting = [each.key for each in await store.steps.waiting(execution.id)]
        assert waiting == ["lock.ok:0", "sleep:0"]
        locks = await store.locks.all_of(execution.id)
        assert {lock.lid: lock.status for lock in locks} == {"l1": "open", "l2": "withdrawn"}
        assert not await store.executions.lose(fid, "r1", DIED)

    check(body)


def test_a_cancelled_execution_is_not_resumed(check: Callable[[Check], None]) -> None:
    """The death of its process ends it."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.executions.request_cancel(execution.fid, grace_s=1)
        assert await store.executions.lose(execution.fid, "r1", DIED)
        assert (await again(store, execution)).status is Status.CANCELLED

    check(body)


def test_ends_if_its_process_dies_again_and_again(check: Callable[[Check], None]) -> None:
    """Ten deaths in a row without a new outcome. A recorded step begins the count anew."""

    async def body(store: Store) -> None:
        execution = await started(store)
        deaths = 0
        while not execution.status.is_final:
            if deaths == 3:
                await recorded(store, execution, record("a:0", 1))
            assert await store.executions.lose(execution.fid, execution.runner, DIED)
            deaths += 1
            execution = await again(store, execution)
            if not execution.status.is_final:
                execution = await resumed(store, execution, f"r{deaths}")
        assert (deaths, execution.resumed) == (13, 12)
        assert execution.error is not None
        assert execution.error.message == (
            "its process was killed. It died 10 times in a row without recording a step"
        )

    check(body)


def test_to_resume_is_no_attempt_of_its_limit(check: Callable[[Check], None]) -> None:
    """`limits.retries` counts errors only."""

    async def body(store: Store) -> None:
        policy = Policy(durable=True, retries=1, retry_errors=True)
        execution = await started(store, policy=policy)
        assert await store.executions.lose(execution.fid, "r1", DIED)
        for runner, expected in (("r2", Status.QUEUED), ("r3", Status.ERROR)):
            execution = await resumed(store, await again(store, execution), runner)
            failed = batch(
                execution.fid, 1, "no", producer=runner, runner=runner,
                status=Status.ERROR, kind=Kind.ERROR,
            )  # fmt: skip
            await store.events.append([failed])
            execution = await again(store, execution)
            assert (execution.status, execution.tries) == (expected, 2)
            if expected is Status.QUEUED:
                again_at = (await last_status(store, execution))["attempt"]
                assert again_at == 2

    check(body)


async def _failed(store: Store, execution: Execution) -> Execution:
    """Return an execution whose flow ended with an error."""
    end = batch(
        execution.fid, 1, "no", producer="end", runner=execution.runner,
        status=Status.ERROR, kind=Kind.ERROR,
    )  # fmt: skip
    await store.events.append([end])
    return await again(store, execution)


def test_a_retry_keeps_the_steps_before_the_failed_one(check: Callable[[Check], None]) -> None:
    """The failed one and what came after it run again: messages arrive and locks open again."""

    async def body(store: Store) -> None:
        execution = await started(store, policy=Policy(retries=1, retry_errors=True))
        fid, now_s = execution.fid, time.time()
        lock: dict[str, Any] = {"name": "ok", "data": 1, "expires": now_s + 60}
        await store.locks.open(fid, "l0", key="lock.ok:0", **lock)
        await store.locks.answer("l0", Answer(value=0), by="ada")
        failed = record("b:0", 2, StepStatus.ERROR, started=time.time())
        await recorded(store, execution, record("a:0", 1), failed)
        await store.locks.open(fid, "l1", key="lock.ok:1", position=3, **lock)
        await store.locks.answer("l1", Answer(value=1), by="ada")
        await store.steps.send(fid, "note", 1, by="ada")
        await store.steps.open_wait(fid, receive(position=4))
        execution = await _failed(store, execution)
        assert execution.status is Status.QUEUED
        assert (await last_status(store, execution))["from"] == "b:0"
        found = await store.steps.past(execution.id, marks=False)
        assert [step.key for step in found.steps] == ["a:0"]
        assert [each.lid for each in found.locks] == ["l0"]
        execution = await resumed(store, execution, "r2")
        step = await store.steps.open_wait(fid, receive(position=3))
        assert step.status is StepStatus.FINISHED
        opened = await store.locks.open(fid, "l1", key="lock.ok:1", position=3, **lock)
        assert (opened.status, opened.answer, opened.by, opened.attempt) == ("open", None, None, 2)
        assert (await store.steps.get(execution.id, "lock.ok:1")).status is StepStatus.WAITING

    check(body)


def test_a_retry_launches_the_failed_child_again(check: Callable[[Check], None]) -> None:
    """The key under which it was launched is free again."""

    async def body(store: Store) -> None:
        policy = Policy(retries=1, retry_errors=True)
        parent = await started(store, policy=policy)
        new = NewExecution(
            flow="svc/flow", service="svc", release=1, inputs={}, parent=parent.fid,
            key=f"child:{parent.fid}:call.svc.flow:0", key_digest="d",
        )  # fmt: skip
        child, is_new = await store.executions.create(new)
        assert is_new
        await store.steps.open_wait(parent.fid, call(child))
        await store.executions.settle(child.fid, Status.ERROR, DIED)
        parent = await _failed(store, parent)
        assert (await store.steps.page_of(parent.id)).items == []
        other, is_new = await store.executions.create(new)
        assert is_new
        assert other.fid != child.fid

    check(body)


def test_a_retry_after_a_death_keeps_all_steps(check: Callable[[Check], None]) -> None:
    """A step whose error the flow has handled is no reason to run it again."""

    async def body(store: Store) -> None:
        execution = await started(store, policy=Policy(retries=1))
        await recorded(store, execution, record("a:0", 1, StepStatus.ERROR), record("b:0", 2))
        assert await store.executions.lose(execution.fid, "r1", DIED)
        assert (await again(store, execution)).status is Status.QUEUED
        assert len((await store.steps.page_of(execution.id)).items) == 2

    check(body)


def test_a_release_with_parked_executions_keeps_its_bundle(
    check: Callable[[Check], None],
) -> None:
    """Its code is needed when they are woken."""

    async def body(store: Store) -> None:
        service = manifest(service="svc", flows=[flow("flow")])
        for bundle in ("b1", "b2"):
            release = await store.releases.create(
                "svc", bundle=bundle, fingerprint=bundle, manifest=service, by="ada"
            )
            await store.releases.go_live("svc", release.number, ())
        execution = await parked(store, await started(store), sleep())
        assert await store.uploads.find_unused(["b1"], before="0", keep_releases=1) == []
        await store.executions.request_cancel(execution.fid, grace_s=1)
        assert await store.uploads.find_unused(["b1"], before="0", keep_releases=1) == ["b1"]

    check(body)


def test_counts_those_that_a_stop_would_end(check: Callable[[Check], None]) -> None:
    """Neither those that have not begun, nor durable ones, nor those that run again."""

    async def body(store: Store) -> None:
        retried = Policy(retries=1, backoff_s=0)
        await parked(store, await started(store), sleep())
        await started(store)
        first = await started(store, policy=retried)
        await started(store, policy=Policy(), user="ada")
        await locked(store, await started(store, policy=Policy()), "l1")
        new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
        await store.executions.create(new)
        assert await store.executions.count_mortal() == {"running": 1, "awaiting": 1}
        assert await store.executions.count_mortal(Sight(user="ada")) == {"running": 1}
        assert await store.executions.lose(first.fid, "r1", DIED)
        await resumed(store, await again(store, first), "r2")
        assert await store.executions.count_mortal() == {"running": 2, "awaiting": 1}

    check(body)


def test_counts_deaths_until_there_is_an_outcome(check: Callable[[Check], None]) -> None:
    """A wait that ends while it is parked is one; after an error the count begins anew."""

    async def body(store: Store) -> None:
        execution = await started(store)
        for deaths in (1, 2):
            assert await store.executions.lose(execution.fid, "r1", DIED)
            execution = await resumed(store, await again(store, execution), "r1")
            assert (execution.deaths, execution.runs_alone) == (deaths, deaths == 2)
        await parked(store, execution, sleep())
        await store.steps.expire(time.time() + 61)
        assert (await again(store, execution)).deaths == 0

        policy = Policy(retries=5, retry_errors=True, backoff_s=0)
        retried = await started(store, policy=policy)
        for deaths in (1, 2):
            assert await store.executions.lose(retried.fid, "r1", DIED)
            retried = await resumed(store, await again(store, retried), "r1")
            assert retried.deaths == deaths
        assert (await _failed(store, retried)).deaths == 0

    check(body)
