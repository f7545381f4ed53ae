"""Handling an entrypoint's return value: it is awaited, or run as a generator."""

import asyncio
import concurrent.futures
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest

from koco import response, testing
from koco.events.model import Status
from koco.runner.event_loop import FlowLoop
from koco.runner.flow import Outcome, Run, load_flow
from koco.runner.generators import Rest, rest_of
from koco.runner.output.lines import Output


def counted(n: int = 2) -> Iterator[int]:
    yield from range(n)
    return f"{n} in all"


async def acounted(n: int = 2) -> AsyncIterator[int]:
    for number in range(n):
        yield number


async def one() -> int:
    return 1


def future() -> Any:
    made: concurrent.futures.Future[int] = concurrent.futures.Future()
    threading.Timer(0.01, made.set_result, [1]).start()
    return made


class Callables:
    """Objects with `__call__`, and their methods."""

    def __call__(self) -> Iterator[int]:
        yield from counted()

    async def method(self) -> AsyncIterator[int]:
        yield 0
        yield 1


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def returning(make: Callable[[], Any]) -> Callable[..., Any]:
    """Return a `def` that returns the result of `make`."""

    def flow() -> Any:
        return make()

    return flow


async def returns_generator() -> Iterator[int]:
    return (number for number in range(2))


@pytest.mark.parametrize(
    ("entrypoint", "results", "result"),
    [
        (counted, [0, 1], "2 in all"),
        (acounted, [0, 1], None),
        (functools.partial(counted, 1), [0], "1 in all"),
        (functools.partial(acounted, 1), [0], None),
        (decorated(counted), [0, 1], "2 in all"),
        (decorated(acounted), [0, 1], None),
        (decorated(one), [], 1),
        (Callables(), [0, 1], None),
        (Callables().method, [0, 1], None),
        (returning(one), [], 1),
        (returning(acounted), [0, 1], None),
        (returning(counted), [0, 1], "2 in all"),
        (returns_generator, [0, 1], None),
        (future, [], 1),
        (lambda: [1, 2], [], [1, 2]),
        (lambda: "text", [], "text"),
    ],
)
def test_lazy_results_run_to_their_end(entrypoint: Any, results: list[Any], result: Any) -> None:
    """Generators, coroutines and futures in any combination; lists and texts are plain values."""
    outcome = testing.run(entrypoint)
    assert (outcome.status, outcome.error) == ("finished", None)
    assert (outcome.of_kind("result"), outcome.result) == (results, result)


def test_a_mock_is_a_plain_value() -> None:
    """A mock has every attribute, but it is not a generator."""
    assert rest_of(MagicMock()) is Rest.NOTHING


def test_yielded_markdown_is_shown_as_such() -> None:
    """A yielded value is written as `tracer.result` writes it."""

    def flow() -> Iterator[Any]:
        yield response.Markdown("# Hi")

    [written] = testing.run(flow).of_kind("result")
    assert written == testing.run(lambda: response.Markdown("# Hi")).result


def test_an_error_comes_after_the_yielded_values() -> None:
    """Its traceback begins in the generator."""

    def flow() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    outcome = testing.run(flow)
    assert (outcome.status, outcome.of_kind("result")) == ("error", [1])
    assert outcome.error is not None
    assert "koco/runner" not in outcome.error["traceback"]


async def cancelled(
    entrypoint: Callable[..., Any],
    tracer: testing.Tracer,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Outcome:
    run = Run(
        load_flow("test", entrypoint, None),
        {},
        tracer=tracer,
        output=Output(lambda kind, text: None),
        loop=loop or asyncio.get_running_loop(),
    )
    ending = asyncio.ensure_future(run.outcome())
    while not tracer.events:
        await asyncio.sleep(0.001)
    run.cancel()
    return await asyncio.wait_for(ending, 10)


def test_a_cancelled_generator_cleans_up_at_its_position() -> None:
    """At its `yield` or between two of them, every time; koco's own code is not interrupted."""
    tidied: list[str] = []

    def flow() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            tidied.append("sync")

    async def aflow() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            tidied.append("async")

    for _ in range(20):
        for each in (flow, aflow):
            assert asyncio.run(cancelled(each, testing.Tracer())) == Outcome(Status.CANCELLED)
    assert tidied == ["sync", "async"] * 20


def test_a_coroutine_returned_by_a_def_can_be_cancelled() -> None:
    """It runs on the loop by then, and its thread is gone."""

    async def wait(tracer: Any) -> None:
        await tracer.result("began")
        await asyncio.sleep(60)

    def flow(tracer: Any) -> Any:
        return wait(tracer)

    assert asyncio.run(cancelled(flow, testing.Tracer())) == Outcome(Status.CANCELLED)


def test_a_shared_loop_survives_its_flows() -> None:
    """Nothing that a task does ends it, and the task sees no other execution's tasks."""
    loop = FlowLoop()
    loop.start()

    def do(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    async def stop() -> None:
        loop.stop()
        with pytest.raises(RuntimeError):
            loop.close()
        loop.call_soon(_exit)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()
        await asyncio.sleep(0.01)

    do(stop())
    assert do(one()) == 1
    assert do(asyncio.to_thread(time.sleep, 0)) is None


def _exit() -> None:
    raise SystemExit


def test_a_blocked_loop_is_noticed_from_outside() -> None:
    """While something keeps it busy, and no longer."""
    loop = FlowLoop()
    loop.start()
    gate = threading.Event()
    assert not asyncio.run(loop.is_blocked(5))
    loop.call_soon_threadsafe(gate.wait, 20)
    assert asyncio.run(loop.is_blocked(0.05))
    gate.set()
    assert not asyncio.run(loop.is_blocked(5))


def test_a_coroutine_that_computes_for_ever_can_be_cancelled() -> None:
    """It is interrupted while it blocks the loop, and its neighbour there goes on."""
    loop = FlowLoop()
    loop.start()
    seen: list[str] = []

    async def busy(tracer: Any) -> None:
        await tracer.result("began")
        await asyncio.sleep(0)
        try:
            while True:
                len("")
        finally:
            seen.append("tidied up")
            await asyncio.sleep(0.01)
            seen.append("and waited for it")

    assert asyncio.run(cancelled(busy, testing.Tracer(), loop)) == Outcome(Status.CANCELLED)
    assert seen == ["tidied up", "and waited for it"]
    assert asyncio.run_coroutine_threadsafe(one(), loop).result(10) == 1
