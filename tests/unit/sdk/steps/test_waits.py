"""Waits of a flow: their questions, their answers, and what a replay finds."""

import asyncio
import datetime as dt
import gc
import hashlib
from typing import Any

import msgspec
import pytest

from koco import FlowError, Tracer
from koco.errors import UsageError
from koco.events.questions import (
    CallFlow,
    LockOutcome,
    OpenLock,
    ReadStep,
    Receive,
    Sleep,
    WaitForLock,
    WaitOutcome,
    WithdrawLock,
    WithdrawWait,
)
from koco.events.steps import Past, PastLock, StepKind, StepStatus
from koco.sdk.steps import places, waits
from koco.sdk.steps.exceptions import RecordedTraceback
from koco.sdk.steps.journal import Journal
from tests.support.journals import FID, MemorySink, play

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def asked(sink: MemorySink) -> list[tuple[type, str]]:
    return [(type(each), each.key) for each in sink.asked if not isinstance(each, WaitForLock)]


async def everything(tracer: Tracer) -> Any:
    await tracer.sleep(60)
    await tracer.sleep_until(NOON)
    return [
        await tracer.receive("note", timeout=5),
        await tracer.call("other/flow", {"day": NOON.date()}),
        await tracer.launch("other/flow", key="mine"),
        await tracer.lock("review", data={"a": 1}),
    ]


def everything_sync(tracer: Tracer) -> Any:
    tracer.sleep_sync(60)
    tracer.sleep_until_sync(NOON)
    return [
        tracer.receive_sync("note", timeout=5),
        tracer.call_sync("other/flow", {"day": NOON.date()}),
        tracer.launch_sync("other/flow", key="mine"),
        tracer.lock_sync("review", data={"a": 1}),
    ]


ANSWERS = {
    "sleep:0": None,
    "sleep:1": None,
    "receive.note:0": {"x": 1},
    "call.other.flow:0": WaitOutcome(
        status="finished", value=["2026-01-02"], moments=[[[0], "date"]], fid="child"
    ),
    "launch.other.flow:0": WaitOutcome(status="finished", fid="launched"),
    "review": True,
}
VALUES = [{"x": 1}, [dt.date(2026, 1, 2)], "launched", True]


@pytest.mark.parametrize("flow", [everything, everything_sync])
def test_asks_the_control_plane(flow: Any) -> None:
    """Each wait has its key, and the answer is the value, with dates restored."""
    sink = MemorySink(ANSWERS)
    assert play(flow, sink) == VALUES
    assert asked(sink) == [
        (Sleep, "sleep:0"),
        (Sleep, "sleep:1"),
        (Receive, "receive.note:0"),
        (CallFlow, "call.other.flow:0"),
        (CallFlow, "launch.other.flow:0"),
        (OpenLock, "lock.review:0"),
    ]
    first, second, third, fourth, fifth, sixth, _ = sink.asked
    assert (first.seconds, first.until, first.arguments) == (60.0, None, "seconds=60")
    assert (second.seconds, second.until) == (None, NOON.timestamp())
    assert (third.name, third.timeout_s, third.position) == ("note", 5.0, 3)
    assert (fourth.flow, fourth.inputs, fourth.waits) == ("other/flow", {"day": "2026-01-01"}, True)
    assert fourth.arguments == 'day="2026-01-01"'
    assert (fifth.waits, fifth.launch_key, fifth.inputs) == (False, "mine", {})
    digest = hashlib.blake2b(f"{FID}/lock.review:0".encode(), digest_size=8).hexdigest()
    assert (sixth.lid, sixth.position, sixth.arguments) == (digest, 6, '{"a":1}')


@pytest.mark.parametrize("flow", [everything, everything_sync])
def test_settled_waits_are_not_asked_again(flow: Any) -> None:
    """A replay gets their outcomes at once."""
    sink = MemorySink(ANSWERS)
    play(flow, sink)
    again = MemorySink()
    assert play(flow, again, sink.past()) == VALUES
    assert again.asked == []


@pytest.mark.parametrize("flow", [everything, everything_sync])
def test_open_waits_are_asked_again_under_the_same_key(flow: Any) -> None:
    """The control plane goes on with them."""
    sink = MemorySink(ANSWERS)
    play(flow, sink)
    steps = [msgspec.structs.replace(sink.past().steps[2], status=StepStatus.WAITING, result=None)]
    again = MemorySink(ANSWERS)
    assert (
        play(flow, again, Past([*sink.past().steps[:2], *steps, *sink.past().steps[3:]])) == VALUES
    )
    assert [type(each) for each in again.asked] == [Receive, OpenLock, WaitForLock]
    assert again.asked[0] == sink.asked[2]


def test_how_long_a_timer_is_may_differ() -> None:
    """The time is often computed from another one; the first timer stands."""
    sink = MemorySink(ANSWERS)

    async def flow(tracer: Tracer) -> None:
        await tracer.sleep(60)

    async def later(tracer: Tracer) -> None:
        await tracer.sleep(30)

    play(flow, sink)
    play(later, MemorySink(), sink.past())


def test_message_that_did_not_arrive_is_a_timeout() -> None:
    """In the first run and in a replay."""

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError, match="'note'"):
            await tracer.receive("note", 1)

    sink = MemorySink({"receive.note:0": WaitOutcome(status="expired")})
    play(flow, sink)
    play(flow, MemorySink(), sink.past())


FAILED = WaitOutcome(
    status="error",
    fid="child",
    error={"type": "ValueError", "message": "bad topic", "traceback": "Traceback: in write"},
)


def test_error_of_another_execution_is_raised_with_its_traceback() -> None:
    """Its type, message and id are attributes."""

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(FlowError, match=r"other/flow.*child.*ValueError: bad topic") as caught:
            await tracer.call("other/flow")
        assert (caught.value.fid, caught.value.type) == ("child", "ValueError")
        assert caught.value.reason == "bad topic"
        assert isinstance(caught.value.__cause__, RecordedTraceback)
        assert "in write" in str(caught.value.__cause__)

    sink = MemorySink({"call.other.flow:0": FAILED})
    play(flow, sink)
    play(flow, MemorySink(), sink.past())


def test_cancelled_execution_is_an_error_of_its_caller() -> None:
    """Without a type and a traceback."""

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(FlowError, match="it was cancelled"):
            await tracer.call("other/flow")

    play(flow, MemorySink({"call.other.flow:0": WaitOutcome(status="error", fid="child")}))


def test_refused_launch_is_a_flow_error() -> None:
    """As an error of the other execution is, but without its id; with the type of the refusal."""
    refused = {"type": "NotAllowedError", "message": "not yours", "hint": "ask"}

    async def flow(tracer: Tracer) -> None:
        told = "other/flow could not be launched: NotAllowedError: not yours"
        with pytest.raises(FlowError, match=told) as caught:
            await tracer.call("other/flow")
        assert (caught.value.fid, caught.value.type) == ("", "NotAllowedError")
        assert (caught.value.reason, caught.value.hint) == ("not yours", "ask")

    play(flow, MemorySink({"call.other.flow:0": WaitOutcome(status="error", error=refused)}))


@pytest.mark.parametrize("key", ["", "ü", "a\nb", "x" * 256, 5])
def test_invalid_keys_are_refused(key: Any) -> None:
    """As `koco run --key` refuses them."""

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(UsageError, match="1 to 255 printable ASCII"):
            await tracer.call("other/flow", key=key)

    play(flow, MemorySink())


def test_flow_that_gives_up_withdraws_its_wait() -> None:
    """In the background, without a place among the flow's tasks."""

    async def inner() -> Any:
        branch = places.here.get()
        assert branch is not None
        return branch.id

    async def flow(tracer: Tracer) -> Any:
        for wait in (lambda: tracer.receive("note"), lambda: tracer.lock("review")):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await wait()
        return await asyncio.create_task(inner())

    sink = MemorySink()
    assert play(flow, sink) == "1"
    assert WithdrawWait(key="receive.note:0") in sink.asked
    assert WithdrawLock in map(type, sink.asked)


def test_wait_that_was_given_up_never_returns() -> None:
    """On replay the flow gives it up again; nothing is asked."""

    async def flow(tracer: Tracer) -> Any:
        done, _ = await asyncio.wait(
            [
                asyncio.ensure_future(tracer.receive("a")),
                asyncio.ensure_future(tracer.receive("b")),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        return [each.result() for each in done]

    sink = MemorySink({"receive.b:0": 2})
    assert play(flow, sink) == [2]
    (second,) = sink.past().steps
    first = msgspec.structs.replace(
        second,
        key="receive.a:0",
        name="receive.a",
        status=StepStatus.WITHDRAWN,
        digest=sink.asked[0].digest,
        result=None,
    )
    again = MemorySink()
    assert play(flow, again, Past([first, second])) == [2]
    assert not [each for each in again.asked if isinstance(each, Receive)]


def test_parked_flow_withdraws_nothing() -> None:
    """Its journal is closed before it is cancelled."""

    async def flow() -> MemorySink:
        sink = MemorySink()
        journal = Journal(FID, sink, durable=True)
        tracer = Tracer(FID, sink, journal)
        journal.enter()
        tasks = [asyncio.ensure_future(each) for each in (tracer.receive("a"), tracer.lock("b"))]
        await asyncio.sleep(0.01)
        journal.close(asyncio.CancelledError())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await tracer.sleep(1)
        with pytest.raises(asyncio.CancelledError):
            await tracer.lock("c")
        await tracer.debug("an event is no call")
        return sink

    sink = asyncio.run(flow())
    assert {type(each) for each in sink.asked} == {Receive, OpenLock, WaitForLock}


def test_withdrawn_and_expired_locks_are_replayed() -> None:
    """As they ended: nobody is asked twice."""

    async def flow(tracer: Tracer) -> None:
        with pytest.raises(TimeoutError, match="nobody answered"):
            await tracer.lock("a", timeout=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tracer.lock("b"), 0.01)

    lids = [
        hashlib.blake2b(f"{FID}/lock.{name}:0".encode(), digest_size=8).hexdigest() for name in "ab"
    ]
    outcomes = [LockOutcome(status=each) for each in ("expired", "withdrawn")]
    past = [
        PastLock(lid, msgspec.json.encode(each)) for lid, each in zip(lids, outcomes, strict=True)
    ]
    sink = MemorySink()
    play(flow, sink, Past(locks=past))
    assert sink.asked == []


def test_lock_inside_a_step_has_no_place() -> None:
    """It works as ever, with an id of its own."""

    async def flow(tracer: Tracer) -> Any:
        async def ask() -> Any:
            return await tracer.lock("review")

        return await tracer.step("ask", ask)

    sink = MemorySink({"review": "yes"})
    assert play(flow, sink) == "yes"
    assert asked(sink) == [(OpenLock, "")]


def test_waits_inside_a_step_are_refused() -> None:
    """A step that waits for days would run all the time, and begin anew after each death."""

    async def flow(tracer: Tracer) -> None:
        async def wait() -> None:
            for call in (
                lambda: tracer.sleep(1),
                lambda: tracer.receive_sync("a"),
                lambda: tracer.call("a/b"),
                lambda: tracer.launch("a/b"),
            ):
                with pytest.raises(UsageError, match="inside the step 'wait'"):
                    call()

        await tracer.step("wait", wait)

    play(flow)


def test_sleeps_until_any_time_that_is_over() -> None:
    """The first year, too, which no timestamp of an event could have."""
    ahead = dt.timezone(dt.timedelta(hours=14))
    wait = waits.sleep_until(dt.datetime.min.replace(tzinfo=ahead))
    assert wait.question(key="sleep:0", position=1, digest="d") == Sleep(
        key="sleep:0", position=1, digest="d", until=0.0
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tracer: tracer.sleep(-1), "from 0"),
        (lambda tracer: tracer.sleep("1"), "number of seconds"),
        (lambda tracer: tracer.sleep(float("nan")), "number of seconds"),
        (lambda tracer: tracer.sleep(10**400), "ten years"),
        (lambda tracer: tracer.sleep(10**5000), "ten years"),
        (lambda tracer: tracer.receive("a", timeout=10**400), "ten years"),
        (lambda tracer: tracer.sleep_until(dt.datetime.max.replace(tzinfo=dt.UTC)), "ten years"),
        (lambda tracer: tracer.sleep_until(NOON.replace(year=2046)), "ten years"),
        (lambda tracer: tracer.sleep_until(3), "time zone"),
        (lambda tracer: tracer.sleep_until(dt.datetime(2026, 1, 1)), "time zone"),
        (lambda tracer: tracer.receive("a b"), "cannot name a message"),
        (lambda tracer: tracer.receive("a", timeout=-1), "timeout"),
        (lambda tracer: tracer.call(""), "service/flow"),
        (lambda tracer: tracer.call("a/b", [1]), "must be a dict"),
        (lambda tracer: tracer.launch("a/b", key=3), "must be a text"),
    ],
)
def test_refuses_invalid_arguments(call: Any, said: str) -> None:
    """At the call, before the wait has a place."""

    def flow(tracer: Tracer) -> None:
        with pytest.raises(UsageError, match=said):
            call(tracer)

    play(flow)


def test_large_outcomes_are_asked_for() -> None:
    """As those of steps."""

    async def flow(tracer: Tracer) -> Any:
        return await tracer.receive("note")

    sink = MemorySink({"receive.note:0": "text"})
    play(flow, sink)
    (kept,) = sink.past().steps
    again = MemorySink()
    again.results = {kept.key: kept.result or b""}
    apart = Past([msgspec.structs.replace(kept, result=None, is_apart=True)])
    assert play(flow, again, apart) == "text"
    assert play(lambda tracer: tracer.receive_sync("note"), again, apart) == "text"
    assert again.asked == [ReadStep(key=kept.key)] * 2


def test_journal_knows_what_is_waited_for() -> None:
    """And when the execution only waits: no step runs then."""
    seen: list[Any] = []

    async def flow() -> None:
        release = asyncio.Event()
        sink = MemorySink({"receive.note:0": release.wait(), "review": release.wait()})
        journal = Journal(FID, sink, durable=True)
        journal.on_idle = lambda: seen.append((sorted(journal.waits), list(journal.locks.values())))
        tracer = Tracer(FID, sink, journal)
        journal.enter()
        working = asyncio.ensure_future(tracer.step("work", asyncio.sleep, 0.05))
        await asyncio.sleep(0)
        waiting = [
            asyncio.ensure_future(each) for each in (tracer.receive("note"), tracer.lock("review"))
        ]
        await asyncio.sleep(0.01)
        assert not journal.is_idle
        assert journal.waiters == set(waiting)
        since = journal.idle_since
        await working
        assert journal.is_idle
        assert journal.idle_since > since
        release.set()
        await asyncio.wait(waiting)
        assert not journal.is_idle
        assert not journal.waits
        assert not journal.locks
        assert not journal.waiters

    asyncio.run(flow())
    assert seen[0] == (["receive.note:0"], ["review"])


def test_thread_that_blocks_is_a_waiter() -> None:
    """By its number."""
    import threading

    found: list[Any] = []

    def flow() -> None:
        sink = MemorySink({"sleep:0": None})
        journal = Journal(FID, sink)
        journal.on_idle = lambda: found.append((set(journal.waiters), threading.get_ident()))
        Tracer(FID, sink, journal).sleep_sync(1)

    flow()
    ((waiters, me),) = found
    assert waiters == {me}


def test_key_of_a_wait_names_its_kind() -> None:
    """A step may have the name of a wait; they are counted together."""

    async def flow(tracer: Tracer) -> None:
        await tracer.step("sleep", lambda: None)
        await tracer.sleep(1)

    sink = MemorySink({"sleep:1": None})
    play(flow, sink)
    assert sink.records[0].key == "sleep:0"
    assert sink.past().steps[1].kind is StepKind.SLEEP


def test_call_without_await_is_reported_by_its_name() -> None:
    """Python's warning says what the flow forgot to await."""

    async def flow(tracer: Tracer) -> None:
        tracer.receive("note")  # type: ignore[unused-coroutine]
        tracer.step("draw", everything, tracer)  # type: ignore[unused-coroutine]
        gc.collect()

    with pytest.warns(RuntimeWarning) as warnings:
        play(flow, MemorySink())
    said = [str(each.message) for each in warnings]
    for name in ("tracer.receive", "draw"):
        assert f"coroutine '{name}' was never awaited" in said
