"""Waiting for a time of day by the wall clock, even if the clock is changed meanwhile."""

import asyncio
import contextlib
import time

#: The longest sleep (seconds), because the machine may be suspended or its clock set meanwhile.
_NAP_S = 60.0


async def at(due_s: float) -> None:
    """Sleep until a time (seconds since the epoch)."""
    never = asyncio.Event()
    while time.time() < due_s:
        await stirred(never, due_s)


async def stirred(event: asyncio.Event, due_s: float | None) -> None:
    """Wait until an event is set or a time has come, and clear the event.

    It may return before that time, because a sleep until a time has a limit.
    """
    delay_s = None if due_s is None else min(max(due_s - time.time(), 0.0), _NAP_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), delay_s)
    event.clear()
