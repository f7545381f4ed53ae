"""The event loop that all async flows of a process share.

In a program with its own loop, some calls end that loop: `loop.stop()`, cancelling all of
`asyncio.all_tasks()`, a task that raises `SystemExit`. Here they must not affect other flows.
"""

import asyncio
import collections
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from koco.runner.output.lines import current
from koco.runner.process import identity
from koco.sdk.steps import places

log = logging.getLogger(__name__)

#: If the loop ends this often within this time (seconds), it cannot recover.
_ENDS, _ENDS_S = 100, 1.0


class FlowLoop(asyncio.SelectorEventLoop):
    """A loop that no flow can end, and that knows the execution of each of its tasks."""

    def start(self) -> None:
        """Run in its own thread for the life of the process."""
        _confine_all_tasks()
        if sys.version_info < (3, 14):
            # A loop of asyncio's asks the policy for its child watcher (subprocesses). Ray sets
            # uvloop's policy for its own loop, and that has no such watcher.
            asyncio.set_event_loop_policy(None)
        thread = threading.Thread(target=self._run, name="koco-flows", daemon=True)
        thread.start()
        #: The number of that thread.
        self.thread = thread.ident or 0

    def cpu_s(self) -> float:
        """Return the CPU time of its thread so far (seconds)."""
        return time.clock_gettime(time.pthread_getcpuclockid(self.thread))

    def _run(self) -> None:
        ended = collections.deque[float](maxlen=_ENDS)
        while True:
            try:
                self.run_forever()
            except BaseException:  # noqa: BLE001 - a task's SystemExit, also its outcome
                log.warning("a task of a flow has stopped the event loop; restarting the loop")
            ended.append(time.monotonic())
            if len(ended) == _ENDS and ended[-1] - ended[0] < _ENDS_S:
                # For example because its selector is closed: nothing on it would ever go on.
                log.error("the event loop of the flows no longer runs")
                os._exit(identity.FAILED)

    async def is_blocked(self, within_s: float) -> bool:
        """Return whether something keeps this loop busy for so long. Called on another loop."""
        answered, home = asyncio.Event(), asyncio.get_running_loop()
        self.call_soon_threadsafe(home.call_soon_threadsafe, answered.set)
        try:
            async with asyncio.timeout(within_s):
                await answered.wait()
        except TimeoutError:
            return True
        return False

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Create a task that belongs to the execution in whose context it runs.

        It is a branch of its own in the flow's code: see `koco.sdk.steps.places`.
        """
        context = options["context"] = places.context_for_task(options.get("context"))
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        owner = context.get(current) if context is not None else current.get()
        task.koco_output = owner  # type: ignore[attr-defined]
        if owner is not None:
            owner.add_task(task)
        return task

    def stop(self) -> None:
        """Ignore this: a single flow must not stop the shared loop."""

    def close(self) -> None:
        """Raise `RuntimeError`, as any running loop does."""
        raise RuntimeError("a flow cannot close the event loop that it shares with others")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Keep the executor, because other flows use it."""

    async def shutdown_asyncgens(self) -> None:
        """Keep the generators, because other flows may use them."""


@functools.cache
def _confine_all_tasks() -> None:
    """Make `asyncio.all_tasks` return only a flow's own tasks: most callers cancel them all."""
    every: Callable[[Any], set[asyncio.Task[Any]]] = asyncio.all_tasks

    @functools.wraps(asyncio.all_tasks)
    def own(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        where = loop or asyncio.get_running_loop()
        tasks = every(where)
        if isinstance(where, FlowLoop) and (mine := current.get()) is not None:
            return {task for task in tasks if getattr(task, "koco_output", None) is mine}
        return tasks

    asyncio.all_tasks = asyncio.tasks.all_tasks = own
