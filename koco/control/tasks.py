"""Coroutines that run beside their maker: kept alive until they end, failures logged."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from koco.errors import KocoError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Pause before another try where the store could not be written (seconds).
RETRY_S = 1.0


async def surely(change: Callable[[], Awaitable[T]]) -> T:
    """Make a change in the store that nobody else would make, however long its disk is full."""
    while True:
        try:
            return await change()
        except KocoError:
            log.exception("the store could not be written yet")
            await asyncio.sleep(RETRY_S)


class Tasks:
    """The tasks of one owner; `name` says whose they are in the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        # The loop holds its tasks weakly: without this, one may vanish in mid-air.
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine; return its task."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, whatever becomes of its asker; return what it does."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a task of %s failed", self._name, exc_info=exc)
