"""Background coroutines: kept alive until they end, with their failures logged."""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from koco.errors import KocoError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Pause before another try if the store could not be written (seconds).
RETRY_S = 1.0


async def surely(change: Callable[[], Awaitable[T]]) -> T:
    """Make a change in the store that only the caller would make, however long its disk is full."""
    while True:
        try:
            return await change()
        except KocoError:
            log.exception("the store could not be written yet")
            await asyncio.sleep(RETRY_S)


#: The tasks of all owners in this process.
_all: "weakref.WeakSet[Tasks]" = weakref.WeakSet()


class Tasks:
    """The tasks of one owner; `name` identifies the owner in the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_stopped = False
        _all.add(self)
        # The loop holds its tasks weakly: without this, a running one may be garbage-collected.
        self._spawned: set[asyncio.Task[Any]] = set()
        self._carried: set[asyncio.Task[Any]] = set()

    @staticmethod
    def stop() -> None:
        """Cancel the tasks of all owners, and any that those tasks spawn later."""
        for each in list(_all):
            each._is_stopped = True
            for task in each._spawned:
                task.cancel()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine; return its task."""
        task = asyncio.get_running_loop().create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._done)
        if self._is_stopped:
            task.cancel()
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[Any]:
        """Run a coroutine that should never end, and restart it after a pause if it fails."""
        return self.spawn(self._run_for_ever(work))

    async def _run_for_ever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("a task of %s failed; restarting it", self._name)
            await asyncio.sleep(RETRY_S)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, even if the caller is cancelled; return its result."""
        task = asyncio.get_running_loop().create_task(work)
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a task of %s failed", self._name, exc_info=exc)
