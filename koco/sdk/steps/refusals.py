"""Refuse the calls of a flow that goes on although its execution is not here any more.

A flow may catch the exception in a loop and try again for ever. It shares its process with others:
so each refusal lets them run, and after many, the flow stands still.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

#: How often one task may be refused, and all tasks and threads of an execution together: many of
#: them may try to tidy up.
MOST_OF_TASK, MOST = 100, 10_000
#: The pause of a thread that was refused so often (seconds): it cannot stand still, because the
#: process waits at its end for some threads.
PAUSE_S = 1.0

#: What tasks that stand still wait for. If nothing referred to it, Python would collect the tasks,
#: and run their code once more to close them.
_never: set[asyncio.Future[None]] = set()


class Refusals:
    """Counts the refused calls of one execution."""

    def __init__(self) -> None:
        #: Called once, in any thread, when a task or a thread was refused too often.
        self.on_stuck: Callable[[], object] | None = None
        self._count = 0
        self._of_tasks: WeakKeyDictionary[asyncio.Task[Any], int] | None = None
        #: Whether that was the case.
        self.is_stuck = False

    async def note_async(self) -> None:
        """Let others run; never return to a task that was refused too often."""
        self._count += 1
        task = asyncio.current_task()
        assert task is not None
        if self._of_tasks is None:
            self._of_tasks = WeakKeyDictionary()
        of_task = self._of_tasks[task] = self._of_tasks.get(task, 0) + 1
        if of_task <= MOST_OF_TASK and self._count <= MOST:
            await asyncio.sleep(0)
            return
        self._report()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        _never.add(future)
        await future

    def note(self) -> None:
        """Slow down a thread that was refused too often, if no loop runs in it."""
        self._count += 1
        if self._count > MOST_OF_TASK and not _has_loop():
            self._report()
            time.sleep(PAUSE_S)

    def _report(self) -> None:
        if not self.is_stuck:
            self.is_stuck = True
            if self.on_stuck is not None:
                self.on_stuck()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
