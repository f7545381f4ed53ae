"""Run generators as entrypoints: each yielded value is written, the returned one is the result.

If writing a value raises, the exception is raised at the generator's `yield`. So a generator is
interrupted at the point it has reached, and can clean up like any function.
"""

import collections.abc
import concurrent.futures
import enum
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from koco.sdk.interruption.fence import Fence


class Rest(enum.Enum):
    """What is left to do with an entrypoint's return value, and in which kind of thread."""

    NOTHING = "nothing"
    #: Await it, or run it as an async generator: on a loop.
    LOOP = "loop"
    #: Run it as a generator: in a thread.
    THREAD = "thread"


_LAZY = (collections.abc.AsyncGenerator, concurrent.futures.Future)


def rest_of(value: Any) -> Rest:
    """Return what is left to do with a return value."""
    if inspect.isawaitable(value) or isinstance(value, _LAZY):
        return Rest.LOOP
    if isinstance(value, collections.abc.Generator):
        return Rest.THREAD
    return Rest.NOTHING


def drive(fence: Fence, generator: Generator[Any, Any, Any], write: Callable[[Any], None]) -> Any:
    """Run a generator in its thread, called inside the thread's fence; return its result."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            value = fence.call(step)
        except StopIteration as end:
            return end.value
        except BaseException as exc:
            if getattr(generator, "gi_frame", None) is None:
                raise
            # The interruption hit outside the generator, which waits at its `yield`.
            step = functools.partial(generator.throw, exc)
            continue
        try:
            write(value)
        except BaseException as exc:  # noqa: BLE001 - passed on to the generator
            step = functools.partial(generator.throw, exc)
        else:
            step = functools.partial(next, generator)


class Stepped:
    """An awaitable that awaits a coroutine, each step of which its fence may interrupt.

    Without it, a coroutine that computes for long would block its loop, and no cancellation
    could reach it.
    """

    def __init__(self, fence: Fence, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._fence = fence
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        """Take the coroutine's steps one after the other."""
        step: Callable[[], Any] = functools.partial(self._coroutine.send, None)
        while True:
            try:
                awaited = self._fence.step(step)
            except StopIteration as end:
                return end.value
            except BaseException as exc:
                if inspect.getcoroutinestate(self._coroutine) != inspect.CORO_SUSPENDED:
                    raise
                step = functools.partial(self._coroutine.throw, exc)
                continue
            try:
                sent = yield awaited
            except BaseException as exc:  # noqa: BLE001 - passed on to the coroutine
                step = functools.partial(self._coroutine.throw, exc)
            else:
                step = functools.partial(self._coroutine.send, sent)


async def drive_async(
    generator: AsyncGenerator[Any, Any], write: Callable[[Any], Awaitable[None]]
) -> None:
    """Run an async generator to its end."""
    step: Callable[[], Awaitable[Any]] = generator.__anext__
    while True:
        try:
            value = await step()
        except StopAsyncIteration:
            return
        try:
            await write(value)
        except BaseException as exc:  # noqa: BLE001 - as above
            step = functools.partial(generator.athrow, exc)
        else:
            step = generator.__anext__
