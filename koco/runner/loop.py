"""The event loop on which the async flows of a process run, side by side.

What is a loop's end to a program of its own (`loop.stop()`, `asyncio.all_tasks()` that are all
cancelled, a task that raises `SystemExit`) must not be the end of the neighbours.
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

from koco.runner import process
from koco.runner.output import current

log = logging.getLogger(__name__)

#: So many ends of the loop in so short a time (seconds) are none that it recovers from.
_ENDS, _ENDS_S = 100, 1.0


class FlowLoop(asyncio.SelectorEventLoop):
    """A loop that no flow can end. It knows whose each of its tasks is."""

    def start(self) -> None:
        """Run in a thread of its own, as long as the process."""
        _confine_all_tasks()
        if sys.version_info < (3, 14):
            # A loop of asyncio's own asks the policy for what waits for subprocesses, and that of
            # uvloop, which Ray has set for its loop, has nothing of the kind.
            asyncio.set_event_loop_policy(None)
        thread = threading.Thread(target=self._run, name="koco-flows", daemon=True)
        thread.start()
        #: The number of that thread.
        self.thread = thread.ident or 0

    def _run(self) -> None:
        ended = collections.deque[float](maxlen=_ENDS)
        while True:
            try:
                self.run_forever()
            except BaseException:  # noqa: BLE001 - SystemExit of a task, which has it as its outcome
                log.warning("a task of a flow has stopped the event loop; it goes on")
            ended.append(time.monotonic())
            if len(ended) == _ENDS and ended[-1] - ended[0] < _ENDS_S:
                # Its selector is closed, say: nothing that runs on it would ever go on.
                log.error("the event loop of the flows does not run any more")
                os._exit(process.FAILED)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task; it is of the execution in whose context it runs."""
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        context = options.get("context")
        owner = context.get(current) if context is not None else current.get()
        task.koco_output = owner  # type: ignore[attr-defined]
        return task

    def stop(self) -> None:
        """Go on: it is not one flow's to stop."""

    def close(self) -> None:
        """Raise `RuntimeError`, as any loop does that runs."""
        raise RuntimeError("a flow cannot close the event loop that it shares with others")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Keep the executor: others use it."""

    async def shutdown_asyncgens(self) -> None:
        """Keep others' generators."""


@functools.cache
def _confine_all_tasks() -> None:
    """Have `asyncio.all_tasks` tell a flow of its own tasks: most ask in order to cancel them."""
    every: Callable[[Any], set[asyncio.Task[Any]]] = asyncio.all_tasks

    @functools.wraps(asyncio.all_tasks)
    def own(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        where = loop or asyncio.get_running_loop()
        tasks = every(where)
        if isinstance(where, FlowLoop) and (mine := current.get()) is not None:
            return {task for task in tasks if getattr(task, "koco_output", None) is mine}
        return tasks

    asyncio.all_tasks = asyncio.tasks.all_tasks = own
