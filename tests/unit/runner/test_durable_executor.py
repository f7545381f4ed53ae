"""Durable executions in a runner: replayed, parked and woken, beside others and one at a time."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koco import Tracer, step, testing
from koco.events.model import Status
from koco.testing import history as history_of_tests
from tests.support.lone_runner import Runner, past_of, payloads

#: What the flows do, in this process.
did: list[str] = []


@step
async def fetch(name: str) -> str:
    did.append(name)
    return name.upper()


@step
def fetch_sync(name: str) -> str:
    did.append(name)
    return name.upper()


async def asks_flow(tracer: Tracer) -> Any:
    print("begins")
    found = await fetch("a")
    await tracer.debug("fetched", found)
    try:
        answer = await tracer.lock("ok")
    finally:
        did.append("unwound")
        print("unwinds")
        await tracer.debug("unwinds")
    print("goes on")
    return [found, answer, await fetch("b")]


def asks_sync_flow(tracer: Tracer) -> Any:
    print("begins")
    found = fetch_sync("a")
    try:
        answer = tracer.lock_sync("ok")
    finally:
        did.append("unwound")
        print("unwinds")
    print("goes on")
    return [found, answer, fetch_sync("b")]


async def gathers_flow(tracer: Tracer) -> Any:
    async def one(name: str) -> Any:
        return [await fetch(name), await tracer.lock(name)]

    return await asyncio.gather(one("x"), one("y"), tracer.sleep(1000))


async def short_flow(tracer: Tracer) -> str:
    return await fetch("short")


async def plain_flow(tracer: Tracer) -> str:
    print("plain")
    return "done"


async def resists_flow(tracer: Tracer) -> str:
    try:
        await tracer.lock("ok")
    finally:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                did.append("resists")


async def slow_to_unwind_flow(tracer: Tracer) -> Any:
    try:
        return await tracer.lock("ok")
    except asyncio.CancelledError:
        await asyncio.sleep(0.5)
        did.append("unwound")
        raise


async def catches_flow(tracer: Tracer) -> str:
    with contextlib.suppress(BaseException):
        await tracer.lock("ok")
    try:
        return await fetch("after the end")
    except BaseException as exc:
        did.append(type(exc).__name__)
        raise


async def notes_flow(tracer: Tracer) -> Any:
    try:
        return await tracer.lock("ok")
    except BaseException as exc:
        did.append(type(exc).__name__)
        raise


def notes_sync_flow(tracer: Tracer) -> Any:
    try:
        return tracer.lock_sync("ok")
    except BaseException as exc:
        did.append(type(exc).__name__)
        raise


async def insists_flow(tracer: Tracer) -> Any:
    while True:
        try:
            return await asyncio.gather(tracer.lock("ok"), tracer.sleep(1000), fetch("a"))
        except BaseException:  # noqa: BLE001 - the point
            did.append("again")


def insists_sync_flow(tracer: Tracer) -> Any:
    while True:
        try:
            return tracer.lock_sync("ok")
        except BaseException:  # noqa: BLE001 - the point
            did.append("again")


async def changes_and_insists_flow(tracer: Tracer) -> Any:
    while True:
        try:
            await fetch("other" if is_changed else "a")
            await tracer.lock("ok")
        except BaseException:  # noqa: BLE001 - the point
            did.append("again")


@step
def pay(tracer: Tracer, cents: int) -> str:
    did.append("pay")
    return f"{cents} paid"


async def pays_flow(tracer: Tracer) -> Any:
    paid = pay(tracer, 5)
    await tracer.lock("ok")
    return paid


is_changed = False


async def changes_flow(tracer: Tracer) -> str:
    try:
        await fetch("other" if is_changed else "a")
    except BaseException:  # noqa: BLE001 - the point
        did.append("swallowed")
    await tracer.lock("ok")
    return "returned"


# scenarios


async def parks_and_wakes(runner: Runner, flow: str = "asks_flow") -> None:
    plane = runner.plane
    mine = await runner.launch(flow)
    await plane.until(lambda: "unwound" in did)
    [park] = mine.parks
    assert park.keys == []
    assert len(park.locks) == 1
    await plane.until(lambda: not runner.executor._parted)
    assert runner.executor._works == {}
    assert runner.executor._spool.held == []
    assert (
        not runner.executor._pulse._active.is_set()
        if hasattr(runner.executor._pulse, "_active")
        else True
    )
    await plane.settle("f1", "ok", "yes")
    assert mine.statuses == [Status.RUNNING]
    await runner.launch(flow)
    assert await runner.finished(mine) == ["A", "yes", "B"]
    assert did == ["a", "unwound", "unwound", "b"]
    # What was stored already is not stored again, and nothing of the unwinding is.
    printed = payloads(mine, "stdout", "debug")
    found = [each for each in printed if each != "fetched A"]
    assert found == [
        "begins",
        "unwinds",
        *(["unwinds"] if flow == "asks_flow" else []),
        "goes on",
    ]
    assert mine.statuses == [Status.RUNNING, Status.RUNNING, Status.FINISHED]


async def parks_and_wakes_sync(runner: Runner) -> None:
    await parks_and_wakes(runner, "asks_sync_flow")


async def parks_a_gather(runner: Runner) -> None:
    mine = await runner.launch("gathers_flow")
    await runner.plane.until(lambda: bool(mine.parks) and not runner.executor._works)
    [park] = mine.parks
    assert len(park.keys) == 1
    assert len(park.locks) == 2
    await runner.plane.settle("f1", "y", 2)
    await runner.launch("gathers_flow")
    await runner.plane.until(lambda: len(mine.parks) == 2 and not runner.executor._works)
    assert len(mine.parks[1].locks) == 1
    await runner.plane.settle("f1", "x", 1)
    await runner.plane.settle("f1", next(iter(mine.parks[1].keys)), None)
    await runner.launch("gathers_flow")
    assert await runner.finished(mine) == [["X", 1], ["Y", 2], None]
    assert sorted(did) == ["x", "y"]


async def is_not_parked_against_the_control_plane(runner: Runner) -> None:
    plane = runner.plane
    plane.parks = lambda fid: False
    mine = await runner.launch("asks_flow")
    await plane.until(lambda: len(mine.parks) == 1)
    await plane.settle("f1", "ok", 1)
    assert await runner.finished(mine) == ["A", 1, "B"]
    assert mine.attempt == 1


async def is_not_parked_too_early(runner: Runner) -> None:
    mine = await runner.launch("asks_flow", park_after_s=0.6)
    await asyncio.sleep(0.4)
    assert mine.parks == []
    await runner.plane.until(lambda: len(mine.parks) == 1 and not runner.executor._works)


async def is_not_parked_if_it_is_not_durable(runner: Runner) -> None:
    mine = await runner.launch("asks_flow", durable=False, park_after_s=0.01)
    await asyncio.sleep(0.3)
    assert mine.parks == []
    await runner.plane.settle("f1", "ok", 1)
    assert await runner.finished(mine) == ["A", 1, "B"]


async def is_woken_before_the_runner_knows(runner: Runner) -> None:
    """The next attempt arrives here before the answer that the former one is parked."""
    plane, launched = runner.plane, []

    async def wake(fid: str) -> None:
        if not launched:
            launched.append(fid)
            await plane.settle(fid, "ok", "yes")
            await runner.launch("slow_to_unwind_flow")

    plane.before_parked = wake
    mine = await runner.launch("slow_to_unwind_flow")
    assert await runner.finished(mine) == "yes"
    await plane.until(lambda: did == ["unwound"])
    await plane.until(lambda: not runner.executor._parted and not runner.executor._works)


async def takes_others_while_one_unwinds(runner: Runner) -> None:
    mine = await runner.launch("slow_to_unwind_flow")
    await runner.plane.until(lambda: bool(mine.parks))
    await runner.plane.until(lambda: bool(runner.executor._parted))
    began = time.monotonic()
    others = [await runner.launch("short_flow", f"o{number}") for number in range(2)]
    for other in others:
        assert await runner.finished(other) == "SHORT"
    if runner.executor._capture.dedicated:
        assert did[0] == "unwound"
    else:
        assert time.monotonic() - began < 0.4


async def goes_with_a_flow_that_does_not_unwind(runner: Runner) -> None:
    await runner.launch("resists_flow")
    await runner.plane.until(lambda: bool(did))
    await asyncio.sleep(30)


async def nothing_is_recorded_after_parking(runner: Runner) -> None:
    mine = await runner.launch("catches_flow")
    await runner.plane.until(lambda: bool(did))
    assert did == ["CancelledError"]
    assert mine.records == {}
    assert mine.statuses == [Status.RUNNING]


async def a_parked_flow_is_only_cancelled(runner: Runner) -> None:
    """Its questions are refused before the runner knows that it is parked."""
    for number, flow in enumerate(("notes_flow", "notes_sync_flow")):
        await runner.launch(flow, f"f{number}")
        await runner.plane.until(lambda number=number: len(did) > number)  # type: ignore[misc]
    assert did == ["CancelledError"] * 2


async def an_answer_during_parking_is_for_the_next_attempt(runner: Runner) -> None:
    """The flow does not go on with it in two processes."""

    async def answer(fid: str) -> None:
        await runner.plane.settle(fid, "ok", "yes")
        await asyncio.sleep(0.1)

    runner.plane.before_parked = answer
    mine = await runner.launch("asks_flow")
    await runner.plane.until(lambda: bool(mine.parks) and not runner.executor._works)
    await runner.plane.until(lambda: "unwound" in did)
    await asyncio.sleep(0.2)
    assert did == ["a", "unwound"]
    await runner.launch("asks_flow")
    assert await runner.finished(mine) == ["A", "yes", "B"]


async def an_answer_during_refused_parking_arrives(runner: Runner) -> None:
    plane = runner.plane

    def refuse(fid: str) -> bool:
        asyncio.get_running_loop().create_task(plane.settle(fid, "ok", "yes"))
        return False

    plane.parks = refuse
    mine = await runner.launch("asks_flow")
    assert await runner.finished(mine) == ["A", "yes", "B"]
    assert len(mine.parks) == 1


async def stands_still(runner: Runner) -> None:
    """Wait until the flows do nothing any more, but for a few calls of a thread."""
    former = -9

    def has_stopped() -> bool:
        nonlocal former, looked
        if time.monotonic() < looked + 0.3:
            return False
        count, former, looked = len(did) - former, len(did), time.monotonic()
        return count < 3

    looked = time.monotonic()
    await runner.plane.until(has_stopped)


async def a_flow_that_insists_leaves_the_loop_to_others(runner: Runner) -> None:
    """It catches everything around a wait and waits again, after it was parked."""
    for number, flow in enumerate(("insists_flow", "insists_sync_flow")):
        mine = await runner.launch(flow, f"f{number}")
        await runner.plane.until(lambda mine=mine: bool(mine.parks))
    await runner.plane.until(lambda: len(runner.executor._parted) == 2)
    assert await runner.finished(await runner.launch("short_flow", "other")) == "SHORT"
    await stands_still(runner)
    began = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - began < 0.2


async def a_cancelled_flow_that_insists_leaves_the_loop_to_others(runner: Runner) -> None:
    """It goes on although its execution was ended from outside."""
    mine = await runner.launch("insists_flow", park_after_s=60)
    await runner.plane.until(lambda: len(mine.opened) == 2)
    await runner.executor.cancel("f1")
    await runner.plane.until(lambda: bool(did))
    mine.is_here = False  # so its next event is refused
    runner.executor._spool.record("f1", b"{}")
    assert await runner.finished(await runner.launch("short_flow", "other")) == "SHORT"
    await stands_still(runner)


async def changed_code_that_insists_fails(runner: Runner) -> None:
    """The execution ends, and so does the process, in which the flow stands still."""
    global is_changed
    mine = await runner.launch("changes_and_insists_flow")
    await runner.plane.until(lambda: bool(mine.parks) and not runner.executor._works)
    is_changed = True
    await runner.launch("changes_and_insists_flow")
    assert (await runner.finished(mine))["type"] == "NonDeterministic"
    await asyncio.sleep(5)
    raise AssertionError("the process goes on")


async def changed_code_is_found(runner: Runner) -> None:
    global is_changed
    mine = await runner.launch("changes_flow")
    await runner.plane.until(lambda: bool(mine.parks) and not runner.executor._works)
    is_changed = True
    await runner.launch("changes_flow")
    error = await runner.finished(mine)
    assert error["type"] == "NonDeterministic"
    assert "hint" in error["traceback"]
    assert did == ["a", "swallowed"]
    assert mine.statuses[-1] is Status.ERROR


async def its_history_replays_in_a_test(runner: Runner) -> None:
    """Although the flow's tracer is another one there."""
    mine = await runner.launch("pays_flow")
    await runner.plane.until(lambda: bool(mine.parks))
    steps = [msgspec.to_builtins(history_of_tests._exported(each)) for each in past_of(mine).steps]
    history = {"fid": "f1", "flow": "pays", "inputs": {}, "moments": [], "locks": []}
    replayed = await asyncio.to_thread(testing.replays, pays_flow, {**history, "steps": steps})
    assert replayed.next == ["lock.ok:0"]
    assert did == ["pay"]


async def a_plain_execution_asks_nothing(runner: Runner) -> None:
    mine = await runner.launch("plain_flow", durable=False)
    assert await runner.finished(mine) == "done"
    assert [b'"at"' in text for text in mine.lines] == [False] * 2
    assert mine.statuses == [Status.RUNNING, Status.FINISHED]


async def cancelling_while_the_past_is_read(runner: Runner) -> None:
    plane = runner.plane
    mine = await runner.launch("asks_flow")
    await plane.until(lambda: bool(mine.parks) and not runner.executor._works)
    answer = asyncio.Event()

    async def slow(blob: bytes) -> bytes:
        await answer.wait()
        return await plane._ask(blob)

    plane.ask.remote = slow
    await runner.launch("asks_flow")
    await asyncio.sleep(0.05)
    await runner.executor.cancel("f1")
    await plane.until(lambda: mine.statuses[-1] is Status.CANCELLED)
    assert did == ["a", "unwound"]


BOTH = [
    parks_and_wakes,
    parks_and_wakes_sync,
    parks_a_gather,
    is_not_parked_against_the_control_plane,
    is_not_parked_too_early,
    is_not_parked_if_it_is_not_durable,
    is_woken_before_the_runner_knows,
    takes_others_while_one_unwinds,
    nothing_is_recorded_after_parking,
    a_parked_flow_is_only_cancelled,
    an_answer_during_parking_is_for_the_next_attempt,
    an_answer_during_refused_parking_arrives,
    changed_code_is_found,
    its_history_replays_in_a_test,
    a_plain_execution_asks_nothing,
    cancelling_while_the_past_is_read,
]


SHARED = [
    a_flow_that_insists_leaves_the_loop_to_others,
    a_cancelled_flow_that_insists_leaves_the_loop_to_others,
    changed_code_that_insists_fails,
]


def run(name: str, concurrency: int, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    module = "tests.unit.runner.test_durable_executor"
    command = [sys.executable, "-m", "tests.support.lone_runner", module, name, str(concurrency)]
    root = Path(__file__).parents[3]
    return subprocess.run(
        command, cwd=root, capture_output=True, timeout=100, check=False, **options
    )


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("scenario", BOTH, ids=lambda each: each.__name__)
def test_durable(scenario: Any, concurrency: int) -> None:
    """Each scenario's own docstring or name says what holds."""
    ran = run(scenario.__name__, concurrency)
    assert ran.returncode == 0, ran.stderr.decode()[-4000:]


@pytest.mark.parametrize("scenario", SHARED, ids=lambda each: each.__name__)
def test_durable_beside_others(scenario: Any) -> None:
    """Each scenario's own docstring or name says what holds."""
    ran = run(scenario.__name__, 4)
    assert ran.returncode == 0, ran.stderr.decode()[-4000:]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_process_with_a_flow_that_does_not_unwind_is_ended(concurrency: int) -> None:
    """Only its end can end such a flow; no execution is left in it."""
    began = time.monotonic()
    ran = run("goes_with_a_flow_that_does_not_unwind", concurrency)
    assert ran.returncode == 0
    assert 4 < time.monotonic() - began < 25
