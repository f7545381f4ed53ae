"""Waits in the control plane: times, messages and children; over a real store, without Ray."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.control import rpc
from koco.control.executions.children import GENERATIONS
from koco.errors import ConflictError, NotFoundError, TooManyError, UsageError
from koco.events import wire
from koco.events.model import Status
from koco.events.questions import (
    CallFlow,
    Park,
    ReadHistory,
    ReadStep,
    Receive,
    Sleep,
    WaitOutcome,
    WithdrawWait,
)
from koco.store.model import AuditQuery, Execution, Key, NewExecution
from tests.support.durable_plane import Durable
from tests.support.pools import eventually, over_store
from tests.support.releases import flow, manifest

TS = "2026-01-31T12:00:00.123456Z"


class Plane(Durable):
    """A control plane with two services: `svc`, whose flow is durable, and `other`."""

    async def begin(self, *, calls: tuple[str, ...] = (), queue: int | None = None) -> Execution:
        """Deploy both services, and return a running execution of ada's."""
        await self.store.keys.put(Key(name="ada", digest=b"a", scopes=("launch",), created=TS))
        for service, more in (("svc", {"calls": calls}), ("other", {"limits": {"queue": queue}})):
            declared = manifest(
                flows=[{"name": "flow", "entrypoint": "m:f", "durable": service == "svc"}],
                runner={"min": 1, "max": 4, "idle_timeout": 300},
                **more,
            )
            await self.go_live(declared, service=service, flows=[flow()])
        return await self.running(user="ada")

    async def ask(self, execution: Execution, question: Any, *, attempt: int = 1) -> Any:
        """Ask as a runner does."""
        return await self.ask_as(execution.fid, question, attempt=attempt)

    async def ask_as(self, fid: str, question: Any, *, attempt: int = 1) -> Any:
        parts: Any = SimpleNamespace(store=self.store, waits=self.waits, supervisor=self.supervisor)
        blob = wire.encode_question(fid, question, attempt=attempt)
        return wire.decode_answer(await rpc.answer(parts, blob), question)

    async def children(self) -> list[Execution]:
        page = await self.store.executions.page(limit=100)
        return [each for each in page.items if each.parent is not None]

    async def finish(self, execution: Execution, value: Any = 1) -> None:
        await self.until(execution.fid, Status.RUNNING)
        runner = self.runner_of(execution.fid)
        await runner.report(execution.fid, Status.FINISHED, count=1, value=value)


Body = Callable[[Plane], Awaitable[None]]


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Body], None]:
    return lambda body: over_store(tmp_path, lambda store: body(Plane(store)))


def sleep(key: str = "sleep:0", **when: Any) -> Sleep:
    return Sleep(key=key, position=1, digest="d", **when)


def receive(name: str = "note", key: str = "receive.note:0", **more: Any) -> Receive:
    return Receive(key=key, position=1, digest="d", name=name, **more)


def call(target: str = "other/flow", key: str = "call:0", **more: Any) -> CallFlow:
    return CallFlow(key=key, position=1, digest="d", flow=target, inputs={"n": 1}, **more)


def test_a_sleep_ends_at_its_time(check: Callable[[Body], None]) -> None:
    """Counted from the first question: one that is repeated later does not wait longer."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        began = time.time()
        first = asyncio.ensure_future(w.ask(execution, sleep(seconds=0.3)))
        await asyncio.sleep(0.2)
        again = await w.ask(execution, sleep(seconds=0.3))
        assert 0.3 <= time.time() - began < 0.45
        assert again == await first == WaitOutcome(status="finished")

    check(body)


def test_sleeps_until_a_time_that_is_over_end_at_once(check: Callable[[Body], None]) -> None:
    """And those that came due while no control plane ran end with its start."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        assert (await w.ask(execution, sleep(until=1.0))).status == "finished"
        waiting = asyncio.ensure_future(w.ask(execution, sleep("sleep:1", seconds=0.5)))
        while (timer := w.waits._alarm._timer) is None:
            await asyncio.sleep(0.01)
        timer.cancel()
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await w.waits.recover()
        assert (await waiting).status == "finished"

    check(body)


def test_a_wait_of_a_thread_has_its_name(check: Callable[[Body], None]) -> None:
    """The digest in its key is no part of that: a flow that runs again would not find it."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        for key in ("~/sleep.081d3d69b5d9:0", "1.2/sleep:0", "sleep:0"):
            await w.ask(execution, sleep(key, until=1.0))
        past = await w.store.steps.past(execution.id, marks=False)
        assert {each.name for each in past.steps} == {"sleep"}

    check(body)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
def test_refuses_invalid_times(check: Callable[[Body], None], seconds: float) -> None:
    """For sleeps and for timeouts."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        for question in (sleep(seconds=seconds), receive(timeout_s=seconds)):
            with pytest.raises(UsageError, match=r"a wait must be from 0|not a valid question"):
                await w.ask(execution, question)

    check(body)


@pytest.mark.parametrize("until", [-1.0, float("nan"), float("inf"), 1e308, 4e9])
def test_refuses_times_that_are_too_far_away(check: Callable[[Body], None], until: float) -> None:
    """Ten years at most, as for a number of seconds."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        with pytest.raises(UsageError, match=r"within ten years|not a valid question"):
            await w.ask(execution, sleep(until=until))
        assert not await w.store.steps.next_due()

    check(body)


@pytest.mark.parametrize(
    "wrong",
    [
        {"position": 2**63},
        {"position": -1},
        {"key": ""},
        {"key": "sleep\n:0"},
        {"key": "s" * 5_000_000},
        {"digest": "d\0"},
        {"arguments": "a" * 5000},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}-{str(next(iter(wrong.values())))[:8]!a}",
)
def test_refuses_places_out_of_bounds(check: Callable[[Body], None], wrong: dict[str, Any]) -> None:
    """Nothing of them is stored, so lists can show everything that is."""

    async def body(w: Plane) -> None:
        execution = await w.begin(calls=("other/flow",))
        place = {"key": "k:0", "position": 1, "digest": "d", **wrong}
        for question in (
            Sleep(**place, seconds=1),
            Receive(**place, name="note"),
            CallFlow(**place, flow="other/flow", inputs={}),
        ):
            with pytest.raises(UsageError, match="cannot be recorded") as caught:
                await w.ask(execution, question)
            assert len(str(caught.value)) < 300
        assert not (await w.store.steps.past(execution.id, marks=False)).steps
        assert not await w.children()

    check(body)


def test_messages_arrive_in_order_each_once(check: Callable[[Body], None]) -> None:
    """Those that were sent before anybody waited, too; other names wait for theirs."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        for number in range(3):
            await w.waits.send(execution, "note", {"n": number}, by="bob")
        got = [await w.ask(execution, receive(key=f"receive.note:{n}")) for n in range(3)]
        assert [each.value for each in got] == [{"n": 0}, {"n": 1}, {"n": 2}]
        waiting = asyncio.ensure_future(w.ask(execution, receive(key="receive.note:3")))
        await asyncio.sleep(0.02)
        await w.waits.send(execution, "else", 1, by="bob")
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await w.waits.send(execution, "note", "last", by="bob")
        assert (await waiting).value == "last"
        expired = await w.ask(execution, receive(key="receive.note:4", timeout_s=0.05))
        assert expired.status == "expired"
        with pytest.raises(UsageError, match="cannot name a message"):
            await w.waits.send(execution, "no name", 1, by="bob")
        await w.finish(execution)
        with pytest.raises(ConflictError, match="has ended"):
            await w.waits.send(execution, "note", 1, by="bob")

    check(body)


def test_a_wait_ends_with_its_execution(check: Callable[[Body], None]) -> None:
    """So that nothing waits for ever here."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        waiting = asyncio.ensure_future(w.ask(execution, receive()))
        await asyncio.sleep(0.02)
        await w.finish(execution)
        with pytest.raises(ConflictError):
            await waiting
        assert w.waiters.count == 0

    check(body)


def test_a_call_returns_the_result_of_its_child(check: Callable[[Body], None]) -> None:
    """Asked again, by another process even, it finds the same child."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        first = asyncio.ensure_future(w.ask(execution, call()))
        await eventually(lambda: w.waiters.count == 1)
        [child] = await w.children()
        assert (child.flow, child.user, child.parent) == ("other/flow", "ada", execution.fid)
        again = asyncio.ensure_future(w.ask(execution, call()))
        await w.finish(child, {"text": "done"})
        for answer in (await first, await again):
            assert (answer.value, answer.fid) == ({"text": "done"}, child.fid)
        assert len(await w.children()) == 1
        [entry] = (await w.store.audit.page(AuditQuery(action="launch"))).items
        assert (entry.who, entry.detail["parent"]) == ("ada", execution.fid)

    check(body)


def test_a_launch_does_not_wait(check: Callable[[Body], None]) -> None:
    """It returns the child's fid; with the author's key, another step finds the same child."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        question = call(key="launch:0", waits=False, launch_key="mine")
        launched = await w.ask(execution, question)
        [child] = await w.children()
        assert (launched.status, launched.fid) == ("finished", child.fid)
        again = await w.ask(execution, call(key="launch:1", waits=False, launch_key="mine"))
        assert again.fid == child.fid

    check(body)


def test_a_childs_error_is_the_calls(check: Callable[[Body], None]) -> None:
    """With its type and message; a cancelled child is an error, too."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        waiting = asyncio.ensure_future(w.ask(execution, call()))
        await eventually(lambda: w.waiters.count == 1)
        [child] = await w.children()
        await w.until(child.fid, Status.RUNNING)
        await w.runner_of(child.fid).report(child.fid, Status.ERROR)
        answer = await waiting
        assert answer.status == "error"
        assert answer.error["type"] == "E"
        assert answer.error["message"] == "failed"

    check(body)


def test_a_refused_launch_is_an_outcome(check: Callable[[Body], None]) -> None:
    """A flow that is not there, and one that neither the user nor the service may launch."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        gone = await w.ask(execution, call("other/none"))
        assert (gone.status, gone.error["type"]) == ("error", "NotFoundError")
        assert "did you mean" in gone.error["message"]
        stranger = await w.running(user="nobody")
        refused = await w.ask(stranger, call())
        assert refused.error["type"] == "NotAllowedError"
        assert "calls: [other/flow]" in refused.error["message"]
        assert await w.ask(stranger, call()) == refused
        assert await w.children() == []

    check(body)


def test_only_flows_that_it_may_launch_are_named(check: Callable[[Body], None]) -> None:
    """Others look the same whether they exist or not, and no hint and no short name finds them."""

    async def body(w: Plane) -> None:
        await w.begin()
        key = Key(name="eve", digest=b"e", scopes=("launch",), created=TS, flows=("svc/*",))
        await w.store.keys.put(key)
        execution = await w.running(user="eve")
        types = {}
        for n, name in enumerate(("other/flo", "other/*", " other/flow", "OTHER/flow", "other")):
            refused = await w.ask(execution, call(name, f"call:{n}", waits=False))
            types[name] = refused.error["type"]
            assert "other/flow'" not in refused.error["message"]
        assert set(types.values()) == {"NotAllowedError", "NotFoundError"}
        assert types["other"] == "NotFoundError"
        found = await w.ask(execution, call("flow", "call:9", waits=False))
        assert (await w.store.executions.get(found.fid)).flow == "svc/flow"

    check(body)


def test_keys_of_calls_are_apart_from_those_of_launches(check: Callable[[Body], None]) -> None:
    """So a parent may be launched with the key that it gives its child."""

    async def body(w: Plane) -> None:
        await w.begin()
        execution = await w.running(user="ada", key="order-7", key_digest="other")
        done = await w.ask(execution, call(waits=False, launch_key="order-7"))
        assert done.status == "finished"
        long = await w.ask(execution, call(key="call:1", waits=False, launch_key="x" * 255))
        assert long.status == "finished"
        odd = await w.ask(execution, call(key="call:2", waits=False, launch_key="ü"))
        assert odd.error["type"] == "UsageError"

    check(body)


def test_only_the_process_of_an_execution_is_answered(check: Callable[[Body], None]) -> None:
    """What launches as its user or tells its results: with its attempt, while a runner has it."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        questions = [
            *(sleep(seconds=0), receive(), call(), WithdrawWait(key="call:0")),
            *(ReadHistory(), ReadStep(key="a:0"), Park(keys=["sleep:0"], locks=[])),
        ]

        async def refuse_all(fid: Execution, attempt: int) -> None:
            for question in questions:
                with pytest.raises(ConflictError, match="only to the process that runs it"):
                    await w.ask(fid, question, attempt=attempt)

        await refuse_all(execution, 0)
        new = NewExecution(flow="other/flow", service="other", release=1, inputs={})
        queued, _ = await w.store.executions.create(new)
        await refuse_all(queued, 1)
        await w.finish(execution)
        await refuse_all(execution, 1)

    check(body)


def test_a_process_must_know_its_whole_fid(check: Callable[[Body], None]) -> None:
    """What people may say instead, such as a prefix, finds no execution."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        for fid in (execution.fid[:8], "latest", ""):
            with pytest.raises(NotFoundError):
                await w.ask_as(fid, sleep(seconds=0))
        assert await w.store.steps.waiting(execution.id) == []

    check(body)


@pytest.mark.parametrize(
    ("rights", "is_allowed"),
    [
        ({"flows": ("other/*",)}, True),
        ({"flows": ("svc/*",)}, False),
        ({"scopes": ("read",)}, False),
        ({"expires": 1.0}, False),
    ],
)
def test_the_users_present_rights_count(
    check: Callable[[Body], None], rights: dict[str, Any], is_allowed: bool
) -> None:
    """Not those at the time of the parent's launch. Its own service may always be called."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        key = {"name": "ada", "digest": b"a", "scopes": ("launch",), "created": TS}
        await w.store.keys.put(Key(**{**key, **rights}))
        answer = await w.ask(execution, call(waits=False))
        assert (answer.status == "finished") is is_allowed
        assert (await w.ask(execution, call("svc/flow", "call:1", waits=False))).fid

    check(body)


def test_the_manifest_permits_calls(check: Callable[[Body], None]) -> None:
    """Whoever launched the parent."""

    async def body(w: Plane) -> None:
        await w.begin(calls=("other/*",))
        execution = await w.running(user="schedule")
        assert (await w.ask(execution, call(waits=False))).status == "finished"

    check(body)


def test_a_launch_waits_for_a_place_in_the_queue(
    check: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue is no error of the flow's."""
    monkeypatch.setattr("koco.control.executions.children._AGAIN_S", 0.01)

    async def body(w: Plane) -> None:
        execution = await w.begin()
        full = [TooManyError("full"), TooManyError("full")]
        launch = w.launches.launch

        async def refuse(*args: Any, **more: Any) -> Any:
            if full:
                raise full.pop()
            return await launch(*args, **more)

        monkeypatch.setattr(w.launches, "launch", refuse)
        assert (await w.ask(execution, call(waits=False))).status == "finished"

    check(body)


def test_generations_are_limited(check: Callable[[Body], None]) -> None:
    """A flow that calls itself without an end is stopped with an error that says so."""

    async def body(w: Plane) -> None:
        await w.begin()
        above: str | None = None
        for _ in range(GENERATIONS - 1):
            new = NewExecution(
                flow="svc/flow", service="svc", release=1, inputs={}, user="ada", parent=above
            )
            execution, _ = await w.store.executions.create(new)
            above = execution.fid
        execution = await w.running(user="ada", parent=above)
        answer = await w.ask(execution, call(waits=False))
        assert answer.error["type"] == "UsageError"
        assert "have launched each other" in answer.error["message"]

    check(body)


def test_cancelling_a_parent_ends_its_children(check: Callable[[Body], None]) -> None:
    """Those in a runner are asked to end, and are ended if they do not."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        waiting = asyncio.ensure_future(w.ask(execution, call()))
        await eventually(lambda: w.waiters.count == 1)
        [child] = await w.children()
        await w.until(child.fid, Status.RUNNING)
        await w.supervisor.cancel(execution.fid, grace_s=0.05)
        await w.until(execution.fid, Status.CANCELLED)
        await w.until(child.fid, Status.CANCELLED)
        assert w.runner_of(child.fid).cancelled == [child.fid]
        await asyncio.wait([waiting])

    check(body)


def test_a_childs_end_wakes_its_parked_parent(check: Callable[[Body], None]) -> None:
    """And parking that is asked for again, by the process that is left, is answered with yes."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        waiting = asyncio.ensure_future(w.ask(execution, call()))
        await eventually(lambda: w.waiters.count == 1)
        park = Park(keys=["call:0"], locks=[])
        assert await w.ask(execution, park)
        with pytest.raises(ConflictError):
            await waiting
        w.runner_of(execution.fid).fids.remove(execution.fid)
        assert (await w.store.executions.get(execution.fid)).status is Status.SLEEPING
        assert await w.ask(execution, park)
        with pytest.raises(ConflictError, match="attempt 1"):
            await w.ask(execution, call())
        [child] = await w.children()
        await w.finish(child, 5)
        now = await w.until(execution.fid, Status.RUNNING)
        assert now.attempt == 2
        assert (await w.ask(execution, call(), attempt=2)).value == 5

    check(body)


def test_an_execution_of_another_flow_is_not_parked(check: Callable[[Body], None]) -> None:
    """Only durable ones are, and only for waits that are known."""

    async def body(w: Plane) -> None:
        execution = await w.begin()
        assert not await w.ask(execution, Park(keys=["sleep:9"], locks=[]))
        new = NewExecution(flow="other/flow", service="other", release=1, inputs={})
        other = await w.until((await w.supervisor.launch(new)).fid, Status.RUNNING)
        waiting = asyncio.ensure_future(w.ask(other, receive()))
        await eventually(lambda: w.waiters.count == 1)
        assert not await w.ask(other, Park(keys=["receive.note:0"], locks=[]))
        assert not waiting.done()

    check(body)
