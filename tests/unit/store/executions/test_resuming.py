"""New executions that take over the recorded steps of others."""

import time
from collections.abc import Callable

import pytest

from koco.errors import NotFoundError
from koco.events.model import Status
from koco.events.steps import StepStatus, lock_id
from koco.store.model import Answer, Execution, NewExecution
from koco.store.store import Store
from tests.support.durable_executions import receive, record, recorded, resumed, sleep, started
from tests.support.stores import Check, events


async def resume(store: Store, former: Execution, before: str | None = None) -> Execution:
    new = NewExecution(
        flow=former.flow,
        service="svc",
        release=2,
        inputs={},
        resume_of=former.fid,
        resume_from=before,
    )
    execution, _ = await store.executions.create(new)
    return execution


async def keys(store: Store, execution: Execution) -> list[str]:
    return [step.key for step in (await store.steps.page_of(execution.id)).items]


def test_keeps_the_steps_before_the_failed_one(check: Callable[[Check], None]) -> None:
    """The new execution names its origin, in its row and in its stream, which begins anew."""

    async def body(store: Store) -> None:
        former = await started(store)
        steps = [record("a:0", 1), record("b:0", 2), record("c:0", 4)]
        failed, running = record("f:0", 3, StepStatus.ERROR), record("r:0", 1, StepStatus.RUNNING)
        await recorded(store, former, *steps, failed, running)
        await store.executions.settle(former.fid, Status.ERROR)
        execution = await resume(store, former)
        assert await keys(store, execution) == ["a:0", "b:0"]
        assert (execution.resume_of, execution.origin) == (former.fid, former.fid)
        again = await resume(store, execution)
        assert (again.resume_of, again.origin) == (execution.fid, former.fid)
        assert former.origin is None
        stream = await events(store, execution)
        assert stream[0]["payload"]["resume_of"] == former.fid
        assert [e["kind"] for e in stream] == ["meta", "inputs", "status"]
        assert (await store.steps.result(execution.id, "a:0")).result == b"r"
        assert await keys(store, former) == ["a:0", "r:0", "b:0", "f:0", "c:0"]

    check(body)


def test_keeps_everything_if_no_step_failed(check: Callable[[Check], None]) -> None:
    """The flow itself failed, perhaps, and has been repaired."""

    async def body(store: Store) -> None:
        former = await started(store)
        await recorded(store, former, record("a:0", 1), record("b:0", 2))
        assert await keys(store, await resume(store, former)) == ["a:0", "b:0"]

    check(body)


def test_a_step_is_given_by_its_key_or_by_its_name(check: Callable[[Check], None]) -> None:
    """A name means its first call. An unknown one is refused with those that there are."""

    async def body(store: Store) -> None:
        former = await started(store)
        await recorded(store, former, *(record(f"a:{n}", n + 1) for n in range(12)))
        assert len(await keys(store, await resume(store, former, "a:2"))) == 2
        assert await keys(store, await resume(store, former, "a")) == []
        with pytest.raises(NotFoundError, match="has no step 'x'") as caught:
            await resume(store, former, "x")
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("its steps: a:0, a:1, ")
        assert caught.value.hint.endswith("a:9, …")
        empty = await started(store)
        with pytest.raises(NotFoundError) as caught:
            await resume(store, empty, "x")
        assert caught.value.hint == "it has recorded no steps"

    check(body)


def test_takes_over_messages_and_answers(check: Callable[[Check], None]) -> None:
    """Messages that no kept step received are for the new execution; answers keep their places."""

    async def body(store: Store) -> None:
        former = await started(store)
        fid = former.fid
        for text in ("first", "second", "third"):
            await store.steps.send(fid, "note", text, by="ada")
        await store.steps.open_wait(fid, receive(number=0, position=1))
        await store.locks.open(
            fid, "l0", name="ok", data=1, expires=time.time() + 60, key="lock.ok:0", position=2
        )
        await store.locks.answer("l0", Answer(value={"yes": True}), by="ada")
        await recorded(store, former, record("a:0", 3))
        await store.steps.open_wait(fid, receive(number=1, position=4))
        await store.steps.open_wait(fid, sleep(position=5))
        await store.locks.open(
            fid, "l1", name="ok", data=1, expires=time.time() + 60, key="lock.ok:1", position=6
        )
        await store.locks.answer("l1", Answer(value=None), by="ada")
        execution = await resume(store, former, "a:0")
        assert await keys(store, execution) == ["receive.note:0", "lock.ok:0"]
        [lock] = await store.locks.all_of(execution.id)
        assert (lock.lid, lock.answer, lock.by) == (
            lock_id(execution.fid, "lock.ok:0"),
            {"yes": True},
            "ada",
        )
        for step in ("lock.ok", "lock.ok:0"):
            earlier = await resume(store, former, step)
            assert await keys(store, earlier) == ["receive.note:0"]
            assert await store.locks.all_of(earlier.id) == []
        execution = await resumed(store, execution, "r2")
        again = await store.steps.open_wait(execution.fid, receive(number=1, position=4))
        outcome = await store.steps.outcome(execution.id, again.key)
        assert outcome is not None
        assert outcome.value == "second"

    check(body)


def test_stays_on_its_release(check: Callable[[Check], None]) -> None:
    """A new release may not replay the steps, so it is not moved to one while it waits."""

    async def body(store: Store) -> None:
        execution = await resume(store, await started(store))
        moved = await store.executions.rebind(
            execution.fid, former=2, release=3, inputs={}, hidden=()
        )
        assert moved is None
        assert (await store.executions.get(execution.fid)).release == 2

    check(body)
