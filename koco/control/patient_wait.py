"""Waiting for something with patience for it, and none lost to an event loop that is late."""

import asyncio
import time
from typing import Any

#: How often it is looked whether the loop comes round in time. Each time costs so much of the
#: patience at most, however late it was.
_TICKS = 20


async def done(task: "asyncio.Future[Any]", seconds: float) -> tuple[bool, float]:
    """Wait until a task is done, so many seconds at most that the loop was there for it.

    Returns whether it is, and how late the loop was at worst (seconds). What a timer says
    cannot be told from what it waited for where the loop itself stood still.
    """
    tick_s, late_s = seconds / _TICKS, 0.0
    for _ in range(_TICKS):
        if task.done():
            break
        began = time.monotonic()
        await asyncio.wait({task}, timeout=tick_s)
        late_s = max(late_s, time.monotonic() - began - tick_s)
    return task.done(), late_s
