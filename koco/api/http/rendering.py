"""Work on untrusted text whose time cannot be foretold, beside the event loop: one thread for all.

A holder's renderings wait for each other before they wait for the thread, so a caller with many
delays others by one of theirs at most.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from koco.control import fair_turns

T = TypeVar("T")

#: How long a rendering works before it leaves the interpreter to others, and for how long
#: (seconds).
_STEP_S, _PAUSE_S = 0.002, 0.0001

_own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


async def render_apart(holder: str, render: Callable[[], T]) -> T:
    """Return the result of a rendering, done in the thread.

    If the caller goes before it has begun, it is not done. `render` limits its own time.
    """
    fair_turns.yield_turn()
    if (lock := _own.get(holder)) is None:
        lock = _own[holder] = asyncio.Lock()
    async with lock:
        return await asyncio.get_running_loop().run_in_executor(_thread(), render)


class Deadline:
    """The most processor time of a rendering. `check` is called often."""

    __slots__ = ("_pause_at", "_until", "most_s")

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        # `thread_time` does not count while other threads and processes have the processor.
        now = time.thread_time()
        self._until = now + most_s
        self._pause_at = now + _STEP_S

    def check(self) -> bool:
        """Return whether there is time left. Now and then, let other threads work first."""
        now = time.thread_time()
        if now > self._pause_at:
            time.sleep(_PAUSE_S)
            self._pause_at = now + _STEP_S
        return now <= self._until


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="koco-rendering")
