"""Recorded steps, waits and messages."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from koco.errors import ConflictError, LimitError, NotFoundError, UsageError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.questions import LockOutcome, WaitOutcome
from koco.events.steps import StepKind, StepStatus, mark_of
from koco.events.wire import Batch
from koco.store import past
from koco.store import steps as repository
from koco.store.model import Answer, FailureEvent, NewExecution, Room, Topic
from koco.store.store import Store
from tests.support.durable_executions import (
    about,
    call,
    heard,
    receive,
    record,
    recorded,
    sent,
    sleep,
    started,
)
from tests.support.stores import Check, batch, begun, ended, events

FINISHED, RUNNING, ERROR = StepStatus.FINISHED, StepStatus.RUNNING, StepStatus.ERROR


def test_records_come_with_their_events(check: Callable[[Check], None]) -> None:
    """A step's row follows its records; the stream has the events without them."""

    async def body(store: Store) -> None:
        execution = await started(store)
        running = record("fetch:0", 1, RUNNING, duration_s=None, preview="")
        await recorded(store, execution, running, record("fetch:1", 2))
        done = record("fetch:0", 1, attempt=2, failures=1, started=running.started + 5)
        await recorded(store, execution, done, first=3)
        [first, second] = (await store.steps.page_of(execution.id)).items
        assert (first.key, first.status, first.attempt, first.failures) == (
            "fetch:0",
            FINISHED,
            2,
            1,
        )
        assert (first.started, first.kind) == (running.started, StepKind.STEP)
        assert (second.key, second.preview, second.size_bytes) == ("fetch:1", "2", 1)
        assert (await store.steps.result(execution.id, "fetch:0")).result == b"r"
        shown = [e for e in await events(store, execution) if e["kind"] == "step"]
        assert [e["payload"]["step"] for e in shown] == ["fetch:0", "fetch:1", "fetch:0"]
        assert "record" not in shown[0]

    check(body)


def test_a_recorded_outcome_is_never_replaced(check: Callable[[Check], None]) -> None:
    """Neither by another outcome nor by a later attempt that begins."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await recorded(store, execution, record("a:0", 1))
        await recorded(store, execution, record("a:0", 1, ERROR, result=b"x"), first=2)
        await recorded(store, execution, record("a:0", 1, RUNNING, attempt=2), first=3)
        step = await store.steps.get(execution.id, "a:0")
        assert (step.status, step.attempt) == (FINISHED, 1)
        assert (await store.steps.result(execution.id, "a:0")).result == b"r"

    check(body)


def test_records_of_a_repeated_batch_count_once(check: Callable[[Check], None]) -> None:
    """A batch that is partly stored brings the records of its new events only."""

    async def body(store: Store) -> None:
        execution = await started(store)
        old, new = record("a:0", 1, RUNNING), record("b:0", 2)
        await recorded(store, execution, old)
        again, found = sent(execution.fid, [record("a:0", 1), new], producer="a1")
        await store.events.append([again], records=[found])
        known = {step.key: step.status for step in (await store.steps.page_of(execution.id)).items}
        assert known == {"a:0": RUNNING, "b:0": FINISHED}

    check(body)


def test_cut_events_leave_their_records(check: Callable[[Check], None]) -> None:
    """An execution that may write no more still records steps; one without room does not yet."""

    async def body(store: Store) -> None:
        execution = await started(store)
        events_, found = sent(execution.fid, [record("a:0", 1)])
        [ack] = await store.events.append([events_], records=[found], room=Room.NONE)
        assert ack.last == 0
        with pytest.raises(NotFoundError, match="no step 'a:0'"):
            await store.steps.get(execution.id, "a:0")
        [ack] = await store.events.append([events_], records=[found], most_bytes=10)
        assert ack.last == 1
        assert (await store.steps.get(execution.id, "a:0")).status is FINISHED

    check(body)


def test_pages_follow_the_order_of_the_calls(check: Callable[[Check], None]) -> None:
    """Whatever the order in which steps end."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await recorded(store, execution, *(record(f"a:{n}", n + 1) for n in (2, 0, 1)))
        first = await store.steps.page_of(execution.id, limit=2)
        assert [step.key for step in first.items] == ["a:0", "a:1"]
        rest = await store.steps.page_of(execution.id, limit=2, cursor=first.next)
        assert ([step.key for step in rest.items], rest.next) == (["a:2"], None)
        with pytest.raises(UsageError):
            await store.steps.page_of(execution.id, cursor="x")

    check(body)


def test_the_past_has_what_a_replay_needs(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes, attempts, settled locks and marks. Large results are asked for, one by one."""
    monkeypatch.setattr(past, "_LARGE", 10)

    async def body(store: Store) -> None:
        execution = await started(store)
        large = record("b:0", 2, result=b"x" * 11)
        await recorded(store, execution, record("a:0", 1), large, record("c:0", 3, RUNNING))
        await store.steps.open_wait(execution.fid, sleep(position=4))
        await store.steps.withdraw(execution.fid, "sleep:0")
        for lid, key in (("l1", "lock.x:0"), ("l2", "")):
            await store.locks.open(
                execution.fid, lid, name="x", data=None, expires=time.time() + 9, key=key
            )
            await store.locks.answer(lid, Answer(value={"ok": 1}), by="ada")
        printed = batch(execution.fid, 1, "hello", producer="out")
        await store.events.append([printed])
        found = await store.steps.past(execution.id, marks=True)
        assert [(s.key, s.status, s.result, s.is_apart) for s in found.steps] == [
            ("a:0", FINISHED, b"r", False),
            ("b:0", FINISHED, None, True),
            ("c:0", RUNNING, None, False),
            ("sleep:0", StepStatus.WAITING, None, False),
        ]
        assert (await store.steps.result(execution.id, "b:0")).result == b"x" * 11
        [lock] = found.locks
        outcome = msgspec.json.decode(lock.outcome, type=LockOutcome)
        assert (lock.lid, outcome) == ("l1", LockOutcome(status="answered", answer={"ok": 1}))
        assert found.marks == {"": [mark_of(printed.body)]}
        assert (await store.steps.past(execution.id, marks=False)).marks == {}

    check(body)


def test_exports_a_history(check: Callable[[Check], None]) -> None:
    """Inputs, steps with their results, and answers, as plain data."""

    async def body(store: Store) -> None:
        execution = await started(store, inputs={"topic": "bees"})
        await recorded(store, execution, record("a:0", 1))
        lock: dict[str, Any] = {"name": "x", "data": 1, "expires": time.time() + 9}
        await store.locks.open(execution.fid, "l1", key="lock.x:0", position=2, **lock)
        await store.locks.answer("l1", Answer(value=True), by="ada")
        outline = await store.steps.outline(execution.id)
        history = outline.history
        assert (history.flow, history.inputs) == ("svc/flow", {"topic": "bees"})
        [[step]] = [await store.steps.exported(rows) for rows in outline.pieces]
        assert (step.step.key, step.result) == ("a:0", b"r")
        [answer] = history.locks
        assert msgspec.to_builtins(answer) == {
            **{"key": "lock.x:0", "name": "x", "status": "answered", "answer": True},
            **{"moments": [], "position": 2},
        }

    check(body)


def test_a_history_is_cut_into_pieces(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by size, in the order of the calls; what has no outcome is named."""
    monkeypatch.setattr(past, "_PIECE", 2)
    monkeypatch.setattr(past, "_PIECE_BYTES", 10)

    async def body(store: Store) -> None:
        execution = await started(store)
        sizes = [1, 1, 1, 50, 6, 6]
        steps = [
            record(f"a:{n}", n + 1, result=b"x" * size, size_bytes=size)
            for n, size in enumerate(sizes)
        ]
        await recorded(store, execution, *steps, record("b:0", 7, RUNNING, duration_s=None))
        outline = await store.steps.outline(execution.id)
        pieces = [await store.steps.exported(rows) for rows in outline.pieces]
        keys = [[each.step.key for each in piece] for piece in pieces]
        assert keys == [["a:0", "a:1"], ["a:2"], ["a:3"], ["a:4"], ["a:5", "b:0"]]
        assert outline.unsettled == {pieces[-1][-1].row: RUNNING}

    check(body)


def test_a_sleep_ends_at_its_time(check: Callable[[Check], None]) -> None:
    """Its event says until when, and then that it is over. Whoever waits is told."""

    async def body(store: Store) -> None:
        execution = await started(store)
        news = heard(store)
        wait = sleep(seconds=60)
        opened = await store.steps.open_wait(execution.fid, wait)
        assert (opened.status, opened.due) == (StepStatus.WAITING, wait.due)
        assert [each.key for each in await store.steps.waiting(execution.id)] == ["sleep:0"]
        assert await store.steps.next_due() == wait.due
        assert await store.steps.expire(time.time()) == []
        assert await store.steps.outcome(execution.id, "sleep:0") is None
        [over] = await store.steps.expire(time.time() + 61)
        assert (over.key, over.status) == ("sleep:0", FINISHED)
        assert await store.steps.next_due() is None
        outcome = await store.steps.outcome(execution.id, "sleep:0")
        assert outcome == WaitOutcome(status="finished")
        assert about(news, Topic.SETTLED) == [execution.fid]
        shown = [e["payload"] for e in await events(store, execution) if e["kind"] == "step"]
        assert [each["status"] for each in shown] == ["waiting", "finished"]
        assert shown[0]["until"] == line.timestamp(wait.due)

    check(body)


def test_a_sleep_until_a_past_time_is_over_at_once(check: Callable[[Check], None]) -> None:
    """No timer is needed."""

    async def body(store: Store) -> None:
        execution = await started(store)
        step = await store.steps.open_wait(execution.fid, sleep(seconds=-1))
        assert step.status is FINISHED

    check(body)


def test_many_waits_end_piece_by_piece(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no change takes long: the next one is due at once."""
    monkeypatch.setattr(repository, "_PIECE", 2)

    async def body(store: Store) -> None:
        execution = await started(store)
        for number in range(3):
            await store.steps.open_wait(execution.fid, sleep(f"sleep:{number}", number + 1))
        later = time.time() + 100
        assert len(await store.steps.expire(later)) == 2
        assert await store.steps.next_due() is not None
        assert len(await store.steps.expire(later)) == 1

    check(body)


def test_a_repeated_question_finds_its_wait(check: Callable[[Check], None]) -> None:
    """It is opened once, with its first time. Another wait under its key is refused."""

    async def body(store: Store) -> None:
        execution = await started(store)
        first = await store.steps.open_wait(execution.fid, sleep(seconds=60))
        before = await events(store, execution)
        assert await store.steps.open_wait(execution.fid, sleep(seconds=99)) == first
        assert await events(store, execution) == before
        with pytest.raises(ConflictError, match="was recorded as sleep sleep"):
            await store.steps.open_wait(execution.fid, sleep(digest="other"))
        await store.executions.settle(execution.fid, Status.CANCELLED)
        with pytest.raises(ConflictError, match="has ended"):
            await store.steps.open_wait(execution.fid, sleep("sleep:1"))

    check(body)


def test_messages_arrive_in_order_each_once(check: Callable[[Check], None]) -> None:
    """Those that come before the flow waits are kept; those of other names stay."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        for number in range(2):
            await store.steps.send(fid, "note", {"n": number}, by="ada")
        await store.steps.send(fid, "other", "x", by="ada")
        for number in range(2):
            step = await store.steps.open_wait(fid, receive(number=number, position=number + 1))
            assert step.status is FINISHED
            outcome = await store.steps.outcome(execution.id, step.key)
            assert outcome is not None
            assert outcome.value == {"n": number}
        third = await store.steps.open_wait(fid, receive(number=2, position=3))
        assert third.status is StepStatus.WAITING
        news = heard(store)
        message = await store.steps.send(fid, "note", {"n": 2}, moments=[["n"]], by="bob")
        assert (message.taken, message.by) == ("receive.note:2", "bob")
        assert [each.key for each in news] == ["receive.note:2"]
        outcome = await store.steps.outcome(execution.id, third.key)
        assert outcome == WaitOutcome(status="finished", value={"n": 2}, moments=[["n"]])

    check(body)


def test_a_message_goes_to_the_oldest_wait(check: Callable[[Check], None]) -> None:
    """The others go on waiting, until their time is over."""

    async def body(store: Store) -> None:
        execution = await started(store)
        for number in range(2):
            wait = receive(number=number, position=number + 1, due=time.time() + 50)
            await store.steps.open_wait(execution.fid, wait)
        await store.steps.send(execution.fid, "note", 1, by="ada")
        [late] = await store.steps.expire(time.time() + 60)
        assert (late.key, late.status) == ("receive.note:1", StepStatus.EXPIRED)
        outcome = await store.steps.outcome(execution.id, late.key)
        assert outcome == WaitOutcome(status="expired")

    check(body)


def test_a_message_is_sent_once_for_a_key(check: Callable[[Check], None]) -> None:
    """Also after its execution has received it, or has ended; another message is refused."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        first = await store.steps.send(fid, "note", {"n": 1}, by="ada", key="k")
        await store.steps.open_wait(fid, receive())
        again = await store.steps.send(fid, "note", {"n": 1}, by="ada", key="k")
        assert (again.id, again.taken) == (first.id, "receive.note:0")
        other = await store.steps.send(fid, "note", {"n": 1}, by="bob", key="k")
        assert other.id != first.id
        with pytest.raises(ConflictError, match="used for another message"):
            await store.steps.send(fid, "note", {"n": 2}, by="ada", key="k")
        await store.executions.settle(fid, Status.CANCELLED)
        ended = await store.steps.send(fid, "note", {"n": 1}, by="ada", key="k")
        assert ended.id == first.id

    check(body)


def test_ended_and_full_executions_take_no_messages(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender is told at once."""
    monkeypatch.setattr(repository, "_MOST_UNREAD", 1)

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.steps.send(execution.fid, "note", 1, by="ada")
        with pytest.raises(LimitError, match="has 1 message "):
            await store.steps.send(execution.fid, "note", 2, by="ada")
        await store.executions.settle(execution.fid, Status.CANCELLED)
        with pytest.raises(ConflictError, match="takes no more messages"):
            await store.steps.send(execution.fid, "note", 2, by="ada")
        with pytest.raises(NotFoundError):
            await store.steps.send("nobody", "note", 2, by="ada")

    check(body)


def test_unread_messages_are_bounded_in_size(
    check: Callable[[Check], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may be larger than all together; what was received no longer counts."""
    monkeypatch.setattr(repository, "_MOST_UNREAD_BYTES", 20)

    async def body(store: Store) -> None:
        execution = await started(store)
        send = store.steps.send
        await send(execution.fid, "note", "é" * 20, by="ada")
        with pytest.raises(LimitError, match=r"has 42 B of messages .* more than 20 B"):
            await send(execution.fid, "other", "x", by="ada")
        await store.steps.open_wait(execution.fid, receive("note"))
        await send(execution.fid, "note", "x" * 8, by="ada")
        await send(execution.fid, "note", "x" * 8, by="ada")
        with pytest.raises(LimitError, match="it has not received"):
            await send(execution.fid, "note", "x", by="ada")

    check(body)


def test_a_message_that_its_flow_never_saw_is_for_the_next_wait(
    check: Callable[[Check], None],
) -> None:
    """A wait that is given up while its message arrives gives it back, in its order."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        await store.steps.open_wait(fid, receive(number=0))
        await store.steps.send(fid, "note", "first", by="ada")
        await store.steps.send(fid, "note", "second", by="ada")
        gone = await store.steps.withdraw(fid, "receive.note:0")
        assert gone.status is StepStatus.WITHDRAWN
        step = await store.steps.open_wait(fid, receive(number=1, position=2))
        outcome = await store.steps.outcome(execution.id, step.key)
        assert outcome is not None
        assert outcome.value == "first"

    check(body)


def test_a_withdrawn_wait_is_opened_again_by_a_later_attempt_only(
    check: Callable[[Check], None],
) -> None:
    """A question that arrives late opens nothing; a replay that comes to it waits again."""

    async def body(store: Store) -> None:
        execution = await started(store)
        fid = execution.fid
        await store.steps.open_wait(fid, sleep())
        await store.steps.withdraw(fid, "sleep:0")
        assert await store.steps.next_due() is None
        again = await store.steps.open_wait(fid, sleep())
        assert again.status is StepStatus.WITHDRAWN
        assert await store.steps.outcome(execution.id, "sleep:0") == WaitOutcome(status="withdrawn")
        error = FailureEvent(type="RunnerDied", message="it was killed")
        assert await store.executions.lose(fid, "r1", error)
        again = await store.steps.open_wait(fid, sleep())
        assert (again.status, again.attempt) == (StepStatus.WAITING, 2)

    check(body)


def test_a_call_ends_with_its_execution(check: Callable[[Check], None]) -> None:
    """With its result, or its error with the traceback. One that has ended already is over."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child = await begun(store)
        await store.steps.open_wait(parent.fid, call(child))
        news = heard(store)
        final = line.encode(Kind.FINAL, {"n": 1})
        end = Batch(child.fid, "p2", 1, 1, final, "r1", Status.FINISHED)
        await store.events.append([end])
        assert [(each.fid, each.key) for each in news] == [(parent.fid, "call.svc.flow:0")]
        outcome = await store.steps.outcome(parent.id, "call.svc.flow:0")
        assert outcome == WaitOutcome(status="finished", value={"n": 1}, fid=child.fid)
        failure = {"type": "ValueError", "message": "no", "traceback": "line 1"}
        failed = await ended(store, error=failure)
        step = await store.steps.open_wait(parent.fid, call(failed, 2, key="call.svc.flow:1"))
        assert step.status is ERROR
        assert step.preview == "ValueError: no"
        outcome = await store.steps.outcome(parent.id, step.key)
        assert outcome == WaitOutcome(status="error", error=failure, fid=failed.fid)

    check(body)


def test_a_call_of_a_cancelled_execution_fails(check: Callable[[Check], None]) -> None:
    """The error says which execution, and how it ended."""

    async def body(store: Store) -> None:
        parent = await started(store)
        child, _ = await store.executions.create(
            NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, parent=parent.fid)
        )
        await store.steps.open_wait(parent.fid, call(child))
        await store.executions.request_cancel(child.fid, grace_s=1)
        outcome = await store.steps.outcome(parent.id, "call.svc.flow:0")
        assert outcome is not None
        assert outcome.error == {
            "type": "Cancelled",
            "message": f"the execution {child.fid} has ended: cancelled",
        }

    check(body)


def test_a_launch_is_over_once_it_is_recorded(check: Callable[[Check], None]) -> None:
    """Its outcome is the fid."""

    async def body(store: Store) -> None:
        parent, child = await started(store), await begun(store)
        step = await store.steps.open_wait(parent.fid, call(child, kind=StepKind.LAUNCH))
        assert (step.status, step.child) == (FINISHED, child.fid)
        outcome = await store.steps.outcome(parent.id, step.key)
        assert outcome == WaitOutcome(status="finished", fid=child.fid)

    check(body)


def test_the_end_of_an_execution_ends_its_waits(check: Callable[[Check], None]) -> None:
    """No timer is left, and its steps go when it is deleted."""

    async def body(store: Store) -> None:
        execution = await started(store)
        await store.steps.open_wait(execution.fid, sleep())
        await store.steps.send(execution.fid, "note", 1, by="ada")
        await recorded(store, execution, *(record(f"a:{n}", n + 2) for n in range(1500)))
        await store.executions.settle(execution.fid, Status.FINISHED)
        assert await store.steps.next_due() is None
        assert (await store.steps.get(execution.id, "sleep:0")).status is StepStatus.WITHDRAWN
        await store.executions.delete(execution.fid)
        assert (await store.steps.page_of(execution.id)).items == []

    check(body)


def test_a_blob_with_a_result_is_kept(check: Callable[[Check], None]) -> None:
    """As long as its execution is."""

    async def body(store: Store) -> None:
        execution = await started(store)
        events_, [found] = sent(execution.fid, [record("a:0", 1, result=None)])
        found = msgspec.structs.replace(found, blob="ab" * 32)
        await store.events.append([events_], records=[[found]])
        assert (await store.steps.result(execution.id, "a:0")).blob == "ab" * 32
        [step] = (await store.steps.past(execution.id, marks=False)).steps
        assert step.is_apart
        blobs = ["ab" * 32, "cd" * 32]
        unused = await store.uploads.find_unused(blobs, before="0", keep_releases=1)
        assert unused == ["cd" * 32]
        await store.executions.settle(execution.fid, Status.FINISHED)
        await store.executions.delete(execution.fid)
        assert await store.uploads.find_unused(blobs, before="0", keep_releases=1) == blobs

    check(body)
