"""Scenarios of launches that come twice, or after their cancellation.

Each scenario runs in a process of its own: see `tests.support.lone_runner`.
"""

import asyncio
import contextlib
import gc

import msgspec

from koco.events.model import Status
from koco.runner.flow import Run
from koco.runner.output.lines import Output
from koco.runner.spec import Launch
from koco.runner.work import Work
from koco.sdk.steps.journal import Journal
from tests.support.lone_runner import Runner, Stored

#: What the flow did, in this process.
did: list[str] = []


async def noted_flow() -> str:
    did.append("ran")
    return "done"


async def twice(runner: Runner) -> None:
    """A launch that comes again, in either way, does nothing once it has begun."""
    mine = await runner.launch("noted_flow", durable=False)
    assert await runner.finished(mine) == "done"
    order = msgspec.json.encode(Launch(fid="f1", flow="noted_flow", inputs={}, attempt=1))
    assert await runner.executor._take(order)
    await runner.executor.launch(order)
    await asyncio.sleep(0.3)
    assert did == ["ran"]
    assert mine.statuses == [Status.RUNNING, Status.FINISHED]
    # Its next attempt is another launch.
    mine.statuses.clear()
    await runner.launch("noted_flow", durable=False, has_past=False)
    assert await runner.finished(mine) == "done"
    assert did == ["ran", "ran"]


async def not_understood(runner: Runner) -> None:
    """A launch that cannot begin is refused; the runner goes on."""
    assert not await runner.executor._take(b"{}")
    order = msgspec.json.encode(Launch(fid="f2", flow="unknown", inputs={}, attempt=1))
    assert not await runner.executor._take(order)
    for _ in range(2):  # the control plane calls the actor, which must say why
        with contextlib.suppress(KeyError):
            await runner.executor.launch(order)
            raise AssertionError("it has not failed")
    mine = await runner.launch("noted_flow", durable=False)
    assert await runner.finished(mine) == "done"


async def cancelled_before(runner: Runner) -> None:
    """Its flow does not begin: the cancellation may overtake a launch that is in the socket."""
    await runner.executor.cancel("f1")
    mine: Stored = await runner.launch("noted_flow", durable=False)
    await runner.plane.until(lambda: bool(mine.statuses) and mine.statuses[-1].is_final)
    assert mine.statuses[-1] is Status.CANCELLED
    assert did == []


async def leaves_no_garbage(runner: Runner) -> None:
    """What an execution consists of is freed without a search for cycles.

    Else the collector would search all that the author has imported, again and again.
    """
    # The class of each object, not `isinstance`: some objects answer that with an import.
    kinds = (Journal, Output, Run, Work)
    await runner.finished(await runner.launch("noted_flow", durable=False))
    await asyncio.sleep(0.1)
    gc.collect()
    gc.disable()
    for number in range(5):
        await runner.finished(await runner.launch("noted_flow", f"g{number}", durable=False))
    await asyncio.sleep(0.3)
    left = [type(each).__name__ for each in gc.get_objects() if type(each) in kinds]
    # A frame or a task may still refer to the last one.
    assert len(left) <= len(kinds), left
