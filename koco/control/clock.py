"""Waiting for a time of day: by the wall clock, whatever happens to it meanwhile."""

import asyncio
import contextlib
import time

#: The longest sleep (seconds): a machine may be suspended, and its clock may be set, meanwhile.
_NAP_S = 60.0


async def at(due_s: float) -> None:
    """Return at a time (seconds since the epoch)."""
    never = asyncio.Event()
    while time.time() < due_s:
        await stirred(never, due_s)


async def stirred(event: asyncio.Event, due_s: float | None) -> None:
    """Return once an event is set, which is cleared, at a time, or now and then before it."""
    delay_s = None if due_s is None else min(max(due_s - time.time(), 0.0), _NAP_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), delay_s)
    event.clear()
