"""Executions that other executions launched."""

from collections.abc import Callable

from koco.events.model import Kind, Status
from koco.store.model import Execution, FailureEvent, NewExecution, Policy, Topic
from koco.store.store import Store
from tests.support.durable_executions import about, call, heard, parked, resumed, sleep, started
from tests.support.stores import Check, batch, events, fids, statuses

ERROR = FailureEvent(type="ValueError", message="no")


async def launched(store: Store, parent: Execution) -> Execution:
    new = NewExecution(flow="svc/child", service="svc", release=1, inputs={}, parent=parent.fid)
    execution, _ = await store.executions.create(new)
    return execution


async def called(store: Store, parent: Execution, *, key: str = "child:it:0") -> Execution:
    """Return an execution that another one has called and waits for."""
    fields = {"flow": "svc/child", "service": "svc", "release": 1, "inputs": {}}
    new = NewExecution(parent=parent.fid, key=key, user=parent.fid, **fields)
    child, _ = await store.executions.create(new)
    await store.steps.open_wait(parent.fid, call(child))
    return child


async def status_of(store: Store, execution: Execution) -> Status:
    return (await store.executions.get(execution.fid)).status


def test_knows_its_parent_and_its_children(check: Callable[[Check], None]) -> None:
    """In its row, in its stream and in lists."""

    async def body(store: Store) -> None:
        parent, other = await started(store), await started(store)
        children = [await launched(store, parent) for _ in range(2)]
        await launched(store, other)
        assert children[0].parent == parent.fid
        meta = (await events(store, children[0]))[0]["payload"]
        assert meta["parent"] == parent.fid
        assert await fids(store, parent=parent.fid) == [each.fid for each in reversed(children)]
        assert await fids(store, parent=parent.fid, statuses=("running",)) == []
        await store.executions.settle(children[0].fid, Status.FINISHED)
        queued = {"parent": parent.fid, "statuses": ("queued",), "flow": "svc/child"}
        assert await fids(store, **queued) == [children[1].fid]

    check(body)


def test_the_end_of_a_child_wakes_its_parent(check: Callable[[Check], None]) -> None:
    """In the same change."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await launched(store, parent)
        parent = await parked(store, parent, call(child))
        news = heard(store)
        await store.executions.settle(child.fid, Status.FINISHED)
        assert await status_of(store, parent) is Status.QUEUED
        assert about(news, Topic.WOKEN) == about(news, Topic.SETTLED) == [parent.fid]
        last = (await events(store, parent))[-1]["payload"]
        assert last["because"] == f"the execution {child.fid} has ended: finished"

    check(body)


def test_cancelling_a_parent_cancels_its_children(check: Callable[[Check], None]) -> None:
    """Those without a runner end at once, theirs too; the others are told by their runners."""

    async def body(store: Store) -> None:
        parent = await started(store)
        runs = await resumed(store, await launched(store, parent), "r2")
        waits = await parked(store, await started(store, "r3", parent=parent.fid), sleep())
        grandchild = await launched(store, waits)
        done = await launched(store, parent)
        await store.executions.settle(done.fid, Status.FINISHED)
        news = heard(store)
        await store.executions.request_cancel(parent.fid, grace_s=3)
        assert about(news, Topic.CANCELLED) == [runs.fid]
        assert set(about(news, Topic.ENDED)) == {waits.fid, grandchild.fid}
        told = await store.executions.get(runs.fid)
        assert (told.status, told.grace_s) == (Status.RUNNING, 3)
        assert told.cancel_requested is not None
        assert await status_of(store, waits) is Status.CANCELLED
        assert await status_of(store, grandchild) is Status.CANCELLED

    check(body)


def test_cancelling_a_parked_parent_does_not_wake_it(check: Callable[[Check], None]) -> None:
    """Although the end of its child ends its wait."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await launched(store, parent)
        parent = await parked(store, parent, call(child))
        news = heard(store)
        await store.executions.request_cancel(parent.fid, grace_s=3)
        assert about(news, Topic.WOKEN) == []
        assert await status_of(store, child) is Status.CANCELLED
        assert statuses(await events(store, parent))[-2:] == ["sleeping", "cancelled"]

    check(body)


def test_a_parent_that_is_cancelled_gets_no_error_of_its_child(
    check: Callable[[Check], None],
) -> None:
    """Neither of one that ends at once, nor of one that its runner ends, nor if it asks again.

    It would end with that error, before its own runner has cancelled it.
    """

    async def body(store: Store) -> None:
        parent = await started(store)
        queued = await called(store, parent)
        await store.executions.request_cancel(parent.fid, grace_s=3)
        assert await status_of(store, queued) is Status.CANCELLED
        assert await store.steps.outcome(parent.id, call(queued).key) is None
        await store.steps.open_wait(parent.fid, call(queued))
        assert await store.steps.outcome(parent.id, call(queued).key) is None
        await store.executions.settle(parent.fid, Status.CANCELLED)
        assert statuses(await events(store, parent))[-1] == "cancelled"

        other = await started(store, "r2")
        runs = await resumed(store, await called(store, other), "r3")
        await store.executions.request_cancel(other.fid, grace_s=3)
        await store.executions.settle(runs.fid, Status.CANCELLED)
        assert await store.steps.outcome(other.id, call(runs).key) is None

    check(body)


def test_a_cancelled_child_is_an_error_of_a_parent_that_goes_on(
    check: Callable[[Check], None],
) -> None:
    """Somebody has cancelled the child alone."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await called(store, parent)
        await store.executions.request_cancel(child.fid, grace_s=3)
        outcome = await store.steps.outcome(parent.id, call(child).key)
        assert outcome is not None
        assert outcome.status == "error"

    check(body)


def test_children_end_with_the_error_of_their_parent(check: Callable[[Check], None]) -> None:
    """Those of a parent that has finished go on."""

    async def body(store: Store) -> None:
        for status, expected in (
            (Status.ERROR, Status.CANCELLED),
            (Status.CANCELLED, Status.CANCELLED),
            (Status.FINISHED, Status.QUEUED),
        ):
            parent = await started(store)
            child = await launched(store, parent)
            error = ERROR if status is Status.ERROR else None
            await store.executions.settle(parent.fid, status, error)
            assert await status_of(store, child) is expected

    check(body)


def test_a_child_that_is_ending_is_told_once(check: Callable[[Check], None]) -> None:
    """Its runner is not asked again when its parent ends."""

    async def body(store: Store) -> None:
        parent = await started(store)
        await resumed(store, await launched(store, parent), "r2")
        news = heard(store)
        await store.executions.request_cancel(parent.fid, grace_s=3)
        await store.executions.settle(parent.fid, Status.CANCELLED)
        assert len(about(news, Topic.CANCELLED)) == 1

    check(body)


async def give_up(store: Store, parent: Execution) -> None:
    await store.steps.withdraw(parent.fid, call(parent).key)


def test_giving_up_a_call_cancels_its_execution(check: Callable[[Check], None]) -> None:
    """Nobody else can get its result. So does the end of the flow while the call is open."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await called(store, parent)
        await give_up(store, parent)
        assert await status_of(store, child) is Status.CANCELLED

        parent = await started(store)
        child = await resumed(store, await called(store, parent), "r2")
        news = heard(store)
        await give_up(store, parent)
        assert about(news, Topic.CANCELLED) == [child.fid]

        parent = await started(store)
        child, other = await called(store, parent), await launched(store, parent)
        await store.executions.settle(parent.fid, Status.FINISHED)
        assert await status_of(store, child) is Status.CANCELLED
        assert await status_of(store, other) is Status.QUEUED

    check(body)


def test_an_execution_goes_on_if_somebody_else_gets_its_result(
    check: Callable[[Check], None],
) -> None:
    """Another call waits for it, or the author's own key finds it."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await called(store, parent)
        other = await started(store)
        await store.steps.open_wait(other.fid, call(child))
        await give_up(store, parent)
        assert await status_of(store, child) is Status.QUEUED
        await give_up(store, other)
        assert await status_of(store, child) is Status.QUEUED, "that one did not launch it"

        parent = await started(store)
        child = await called(store, parent, key="monday")
        await give_up(store, parent)
        assert await status_of(store, child) is Status.QUEUED

    check(body)


def test_a_call_that_was_given_up_stays_open_in_a_replay(check: Callable[[Check], None]) -> None:
    """Until the flow gives it up again. Another attempt after an error launches it anew."""

    async def body(store: Store) -> None:
        policy = Policy(durable=True, retries=1, retry_errors=True, backoff_s=0)
        parent = await started(store, policy=policy)
        child = await called(store, parent)
        await give_up(store, parent)
        assert await store.executions.lose(parent.fid, "r1", ERROR)
        parent = await resumed(store, await store.executions.get(parent.fid), "r2")
        again = await called(store, parent)
        assert again.fid == child.fid
        assert (await store.steps.get(parent.id, call(child).key)).status == "waiting"
        await give_up(store, parent)

        last = {"runner": "r2", "status": Status.ERROR, "kind": Kind.ERROR}
        end = batch(parent.fid, 1, "no", producer="end", **last)
        await store.events.append([end])
        parent = await resumed(store, await store.executions.get(parent.fid), "r3")
        anew = await called(store, parent)
        assert anew.fid != child.fid
        await store.executions.settle(anew.fid, Status.FINISHED)
        assert (await store.steps.get(parent.id, call(child).key)).status == "finished"

    check(body)
