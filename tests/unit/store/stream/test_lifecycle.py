"""The steps of an execution's life."""

import time
from collections.abc import Callable

import pytest

from koco.events.model import Kind, Status
from koco.store.model import (
    Failure,
    FailureEvent,
    NewExecution,
    Policy,
)
from koco.store.store import Store
from tests.support.stores import Check, batch, begun, events, launch, statuses


def test_records_a_life_from_queued_to_finished(check: Callable[[Check], None]) -> None:
    """Status, times, outcome and counts follow the events. One final status is the last event."""

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


def test_accepts_nothing_after_the_final_status(check: Callable[[Check], None]) -> None:
    """Late events, another end and another assignment are all refused."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        assert await store.executions.settle(
            execution.fid, Status.ERROR, FailureEvent(type="T", message="m")
        )
        before = await events(store, execution)
        [ack] = await store.events.append([batch(execution.fid, 1, "late", runner="r1")])
        assert ack.closed
        assert not await store.executions.settle(execution.fid, Status.CANCELLED)
        assert not await store.executions.assign(execution.fid, "r2")
        assert not await store.executions.requeue(execution.fid, "r1")
        assert await events(store, execution) == before
        done = await store.executions.get(execution.fid)
        assert done.error == Failure(type="T", message="m")

    check(body)


def test_requeues_only_executions_that_never_began(check: Callable[[Check], None]) -> None:
    """A starting execution can be queued again, once. A running one cannot."""

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
def test_does_not_retry_a_cancelled_execution_whose_runner_died(
    check: Callable[[Check], None], began: bool
) -> None:
    """It ends as cancelled, whether or not it had begun."""

    async def body(store: Store) -> None:
        error = FailureEvent(type="RunnerDied", message="m")
        execution = await (begun(store) if began else launch(store))
        await store.executions.assign(execution.fid, "r1")
        await store.executions.request_cancel(execution.fid, grace_s=1)
        assert not await store.executions.requeue(execution.fid, "r1")
        assert not await store.executions.lose(execution.fid, "r2", error)
        assert await store.executions.lose(execution.fid, "r1", error)
        assert (await store.executions.get(execution.fid)).status is Status.CANCELLED
        assert (await events(store, execution))[-1]["payload"] == {"status": "cancelled"}

    check(body)


def test_cancels_a_queued_execution_at_once_and_notes_it_for_a_running_one(
    check: Callable[[Check], None],
) -> None:
    """A queued execution ends `cancelled`. The request is stored with a running one."""

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


def test_cancels_all_executions_of_a_service_in_pieces(check: Callable[[Check], None]) -> None:
    """From the request on, no waiting one is given to a runner. The running ones are returned."""

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


def test_an_execution_that_runs_too_long_is_overdue_once(check: Callable[[Check], None]) -> None:
    """It ends with that error when it is cancelled then."""

    async def body(store: Store) -> None:
        new = NewExecution(
            flow="svc/flow", service="svc", release=1, inputs={}, policy=Policy(timeout_s=5)
        )
        execution, _ = await store.executions.create(new)
        await store.executions.assign(execution.fid, "r1")
        await store.events.append([batch(execution.fid, 1, runner="r1", status=Status.RUNNING)])
        assert await store.executions.time_out(time.time() + 1) == []
        assert await store.executions.time_out(time.time() + 6) == [execution.fid]
        assert await store.executions.time_out(time.time() + 6) == []
        assert await store.executions.settle(execution.fid, Status.CANCELLED)
        done = await store.executions.get(execution.fid)
        assert (done.status, done.error and done.error.type) == (Status.ERROR, "TimedOut")

    check(body)


def test_a_stream_that_is_cut_still_ends(check: Callable[[Check], None]) -> None:
    """It says once how many events were not kept."""

    async def body(store: Store) -> None:
        execution = await begun(store)
        for number in range(1, 4):
            await store.events.append(
                [batch(execution.fid, number, "x" * 50, runner="r1")], most_bytes=1
            )
        end = batch(execution.fid, 4, "done", runner="r1", status=Status.FINISHED, kind=Kind.FINAL)
        await store.events.append([end], most_bytes=1)
        stream = await events(store, execution)
        texts = [each["payload"] for each in stream if each["kind"] == "stderr"]
        assert ["max_events_mb" in text for text in texts] == [True, False]
        assert "3 events" in texts[1]
        assert stream[-2]["payload"] == "done"

    check(body)
