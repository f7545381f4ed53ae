"""Generators as entrypoints: what they yield is written, what they return is the result.

An exception that comes while a value is written is raised at its `yield`, so that a generator
is interrupted where it stands, and tidies up as any function does.
"""

import collections.abc
import concurrent.futures
import enum
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from koco.runner.fence import Fence


class Rest(enum.Enum):
    """What is left to do with what an entrypoint has returned, and where."""

    NOTHING = "nothing"
    #: To be awaited, or run as an async generator: on a loop.
    LOOP = "loop"
    #: To be run as a generator: in a thread.
    THREAD = "thread"


_LAZY = (collections.abc.AsyncGenerator, concurrent.futures.Future)


def rest_of(value: Any) -> Rest:
    """Say what is left to do with a value that was returned."""
    if inspect.isawaitable(value) or isinstance(value, _LAZY):
        return Rest.LOOP
    if isinstance(value, collections.abc.Generator):
        return Rest.THREAD
    return Rest.NOTHING


def drive(fence: Fence, generator: Generator[Any, Any, Any], write: Callable[[Any], None]) -> Any:
    """Run a generator in its thread, inside whose fence this is called; return its result."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        try:
            value = fence.call(step)
        except StopIteration as end:
            return end.value
        except BaseException as exc:
            if getattr(generator, "gi_frame", None) is None:
                raise
            # It was interrupted beside the generator, which waits at its `yield`.
            step = functools.partial(generator.throw, exc)
            continue
        try:
            write(value)
        except BaseException as exc:  # noqa: BLE001 - it is the generator's to bear
            step = functools.partial(generator.throw, exc)
        else:
            step = functools.partial(next, generator)


class Stepped:
    """An awaitable that awaits a coroutine, each step of which may be interrupted by its fence.

    A coroutine that computes for long blocks its loop, where no cancellation reaches it.
    """

    def __init__(self, fence: Fence, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._fence = fence
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        """Take one step after the other."""
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
            except BaseException as exc:  # noqa: BLE001 - it is the coroutine's to bear
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
