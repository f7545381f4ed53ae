"""Waiting with a timeout that a late event loop does not use up."""

import asyncio
import time
from typing import Any

#: How many checks of the loop's lateness a timeout has. Each one uses up its share of the timeout
#: at most, however late the loop was.
_TICKS = 20


async def done(task: "asyncio.Future[Any]", seconds: float) -> tuple[bool, float]:
    """Wait for a task, for at most `seconds` during which the loop was responsive.

    Returns whether the task is done, and the loop's worst delay (seconds). A plain timeout would
    not do, because it also expires while the loop itself is blocked.
    """
    tick_s, late_s = seconds / _TICKS, 0.0
    for _ in range(_TICKS):
        if task.done():
            break
        began = time.monotonic()
        await asyncio.wait({task}, timeout=tick_s)
        late_s = max(late_s, time.monotonic() - began - tick_s)
    return task.done(), late_s
