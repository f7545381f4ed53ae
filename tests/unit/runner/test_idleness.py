"""What shows that an execution only waits, in many shapes of flows."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from koco import testing
from koco.runner import idleness
from koco.runner.event_loop import FlowLoop
from koco.runner.flow import Outcome, Run, load_flow
from koco.runner.output.lines import Output, patch_threads


class Waits:
    """Waits for a control plane that never answers, until it is told to."""

    def __init__(self) -> None:
        self.waiters: set[object] = set()
        self.over = threading.Event()

    async def wait(self) -> str:
        """Wait as `tracer.lock` does: in a task that is marked."""
        task = asyncio.current_task()
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiters.add(task)
        try:
            return await future
        finally:
            self.waiters.discard(task)

    def wait_sync(self) -> str:
        """Wait as `tracer.lock_sync` does."""
        self.waiters.add(threading.get_ident())
        self.over.wait()
        self.waiters.discard(threading.get_ident())
        return "over"


waits = Waits()


@pytest.fixture(autouse=True, scope="module")
def loop() -> Iterator[FlowLoop]:
    patch_threads()
    made = FlowLoop()
    made.start()
    yield made


async def alone() -> None:
    await waits.wait()


async def gathers() -> None:
    await asyncio.gather(waits.wait(), asyncio.gather(waits.wait(), waits.wait()))


async def gathers_some_that_have_ended() -> None:
    async def ends() -> None:
        pass

    await asyncio.gather(ends(), waits.wait())


async def groups() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(waits.wait())
        group.create_task(gathers())


async def waits_for_the_first() -> None:
    tasks = [asyncio.create_task(waits.wait()) for _ in range(2)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def awaits_a_task() -> None:
    await asyncio.create_task(gathers())


async def shields() -> None:
    await asyncio.shield(asyncio.create_task(waits.wait()))


async def waits_for_ever_with_wait_for() -> None:
    await asyncio.wait_for(waits.wait(), None)


async def takes_as_completed() -> None:
    for each in asyncio.as_completed([waits.wait(), waits.wait()]):
        await each


async def generates() -> AsyncIterator[int]:
    yield 1
    await waits.wait()
    yield 2


async def generates_with_wait() -> AsyncIterator[int]:
    yield 1
    await asyncio.wait([asyncio.create_task(waits.wait())])
    yield 2


async def was_in_a_thread() -> None:
    await asyncio.to_thread(time.sleep, 0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        await waits.wait()


async def after_a_timeout() -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
    await asyncio.sleep(0.01)
    await waits.wait()


def sync() -> None:
    waits.wait_sync()


def sync_generator() -> Iterator[int]:
    yield 1
    waits.wait_sync()


def returns_a_coroutine() -> Awaitable[None]:
    return alone()


IDLE = [
    alone,
    gathers,
    gathers_some_that_have_ended,
    groups,
    waits_for_the_first,
    awaits_a_task,
    shields,
    waits_for_ever_with_wait_for,
    takes_as_completed,
    generates,
    generates_with_wait,
    was_in_a_thread,
    after_a_timeout,
    sync,
    sync_generator,
    returns_a_coroutine,
]


async def wait_for_with_a_timeout() -> None:
    await asyncio.wait_for(waits.wait(), 60)


async def inside_a_timeout() -> None:
    async with asyncio.timeout(60):
        await waits.wait()


async def sleeps_beside() -> None:
    await asyncio.gather(waits.wait(), asyncio.sleep(60))


async def sleeps_in_another_task() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    await waits.wait()
    await task


async def waits_with_a_timeout() -> None:
    await asyncio.wait([asyncio.create_task(waits.wait())], timeout=60)


async def has_a_timer() -> None:
    asyncio.get_running_loop().call_later(60, print)
    await waits.wait()


async def works_in_a_thread_beside() -> None:
    await asyncio.gather(waits.wait(), asyncio.to_thread(waits.over.wait))


async def has_left_a_job() -> None:
    asyncio.get_running_loop().run_in_executor(None, waits.over.wait)
    await waits.wait()


async def has_left_a_thread() -> None:
    threading.Thread(target=waits.over.wait, daemon=True).start()
    await waits.wait()


async def reads_a_connection_beside() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waits.wait()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, _ = await asyncio.open_connection(host, port)
    await asyncio.gather(waits.wait(), reader.read())


async def requests_beside() -> None:
    import httpx

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waits.wait()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with httpx.AsyncClient(timeout=None, trust_env=False) as client:
        await asyncio.gather(waits.wait(), client.get(f"http://{host}:{port}"))


async def waits_for_an_event_beside() -> None:
    await asyncio.gather(waits.wait(), asyncio.Event().wait())


async def awaits_a_foreign_future_with_wait() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait([future, asyncio.create_task(waits.wait())])


async def computes_beside() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    await asyncio.gather(waits.wait(), spin())


async def only_sleeps() -> None:
    await asyncio.sleep(60)


def sync_with_a_thread() -> None:
    thread = threading.Thread(target=waits.over.wait)
    thread.start()
    waits.wait_sync()


def sync_in_other_threads() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: waits.wait_sync(), range(2)))


BUSY = [
    wait_for_with_a_timeout,
    inside_a_timeout,
    sleeps_beside,
    sleeps_in_another_task,
    waits_with_a_timeout,
    has_a_timer,
    works_in_a_thread_beside,
    has_left_a_job,
    has_left_a_thread,
    reads_a_connection_beside,
    requests_beside,
    waits_for_an_event_beside,
    awaits_a_foreign_future_with_wait,
    computes_beside,
    only_sleeps,
    sync_with_a_thread,
    sync_in_other_threads,
]


class Running:
    """A flow that runs, until the block is left."""

    def __init__(self, loop: FlowLoop, entrypoint: Callable[..., Any]) -> None:
        self.output = Output(lambda kind, text: None)
        self.loop = loop
        self.run = Run(
            load_flow("test", entrypoint, None),
            {},
            tracer=testing.Tracer(),
            output=self.output,
            loop=loop,
        )

    async def __aenter__(self) -> "Running":
        waits.over.clear()
        self.outcome: asyncio.Task[Outcome] = asyncio.create_task(self.run.outcome())
        return self

    async def __aexit__(self, *_: object) -> None:
        waits.over.set()
        self.run.cancel()
        await self.outcome

    async def is_idle(self) -> bool:
        """Return what the proof says of it now."""
        task = self.run.task
        if task is None or task.done():
            return idleness.is_idle_in_thread(self.run.thread, self.output, waits.waiters)
        done = asyncio.get_running_loop().create_future()
        home = asyncio.get_running_loop()

        def look() -> None:
            found = idleness.is_idle(self.loop, self.output, waits.waiters)
            home.call_soon_threadsafe(done.set_result, found)

        self.loop.call_soon_threadsafe(look)
        return bool(await done)


@pytest.mark.parametrize("entrypoint", IDLE)
def test_a_flow_that_only_waits_is_idle(loop: FlowLoop, entrypoint: Callable[..., Any]) -> None:
    """Once it has got that far."""

    async def main() -> None:
        async with Running(loop, entrypoint) as running:
            until = time.monotonic() + 5
            while not await running.is_idle():
                assert time.monotonic() < until
                await asyncio.sleep(0.005)

    asyncio.run(main())


@pytest.mark.parametrize("entrypoint", BUSY)
def test_a_flow_that_something_here_may_wake_is_not_idle(
    loop: FlowLoop, entrypoint: Callable[..., Any]
) -> None:
    """Not at any moment."""

    async def main() -> None:
        async with Running(loop, entrypoint) as running:
            for _ in range(40):
                assert not await running.is_idle()
                await asyncio.sleep(0.005)
            assert waits.waiters or entrypoint is only_sleeps

    asyncio.run(main())


def test_neighbours_do_not_count(loop: FlowLoop) -> None:
    """Another execution's timers, threads and tasks are its own."""

    async def main() -> None:
        async with (
            Running(loop, sleeps_beside),
            Running(loop, has_left_a_thread),
            Running(loop, gathers) as idle,
            Running(loop, alone) as other,
        ):
            await asyncio.sleep(0.1)
            assert await idle.is_idle()
            assert await other.is_idle()

    asyncio.run(main())
