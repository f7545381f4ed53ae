"""One call of an entrypoint, as a runner makes it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from koco import testing
from koco.events.model import Status
from koco.runner.event_loop import FlowLoop
from koco.runner.flow import _BLOCKED_S, Outcome, Run, load_flow
from koco.runner.output.lines import Output
from koco.sdk.interruption import fence

called: list[str] = []


def plain() -> None:
    called.append("plain")


async def awaited() -> None:
    called.append("awaited")


async def ended(entrypoint: Callable[..., Any], *, cancelled: bool) -> Outcome:
    run = Run(
        load_flow("test", entrypoint, None),
        {},
        tracer=testing.Tracer(),
        output=Output(lambda kind, text: None),
        loop=asyncio.get_running_loop(),
    )
    if cancelled:
        run.cancel()
    return await run.outcome()


@pytest.mark.parametrize("entrypoint", [plain, awaited])
def test_a_run_cancelled_early_never_begins(entrypoint: Callable[..., Any]) -> None:
    """A cancellation counts while `running` is being committed, for `def` flows as well."""
    called.clear()
    assert asyncio.run(ended(entrypoint, cancelled=True)) == Outcome(Status.CANCELLED)
    assert called == []
    assert asyncio.run(ended(entrypoint, cancelled=False)).status is Status.FINISHED
    assert called == [entrypoint.__name__]


left: list[str] = []


async def leaves_tasks() -> str:
    async def beat(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(name)

    tasks = [asyncio.create_task(beat(name)) for name in ("one", "two")]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return "returned"


async def waits_beside() -> str:
    await asyncio.sleep(0.5)
    return "went on"


def test_leftover_tasks_end_with_their_execution() -> None:
    """They are cancelled once the flow has returned; those of its neighbours go on."""
    left.clear()
    loop = FlowLoop()
    loop.start()

    async def both() -> list[Outcome]:
        outputs = [Output(lambda kind, text: None) for _ in range(2)]
        runs = [
            Run(
                load_flow("test", each, None), {}, tracer=testing.Tracer(), output=output, loop=loop
            )
            for each, output in zip((waits_beside, leaves_tasks), outputs, strict=True)
        ]
        return await asyncio.gather(*(run.outcome() for run in runs))

    beside, leaving = asyncio.run(both())
    assert (beside.payload, leaving.payload) == ("went on", "returned")
    assert sorted(left) == ["one", "two"]


begun = threading.Event()


async def computes() -> None:
    begun.set()
    with fence.current() or contextlib.nullcontext():  # as if it logged or started a thread
        time.sleep(_BLOCKED_S + 0.5)  # noqa: ASYNC251 - it blocks its loop
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pass


def test_a_coroutine_that_computes_is_interrupted_outside_of_the_library() -> None:
    """If it is inside when its time is up, it is looked at again."""
    begun.clear()
    loop = FlowLoop()
    loop.start()

    async def cancelled() -> Outcome:
        output = Output(lambda kind, text: None)
        run = Run(
            load_flow("test", computes, None), {}, tracer=testing.Tracer(), output=output, loop=loop
        )
        outcome = asyncio.create_task(run.outcome())
        await asyncio.to_thread(begun.wait, 10)
        run.cancel()
        return await outcome

    assert asyncio.run(cancelled()).status is Status.CANCELLED
    assert loop.cpu_s() < 15
