"""koco: the flows, plain and durable."""

import asyncio

from trivial_work import began

from koco import Tracer, step


async def trivial(number: int, seconds: float = 0.0) -> int:
    """Do the work."""
    began(number)
    if seconds:
        await asyncio.sleep(seconds)
    return number


@step
async def work(number: int, seconds: float) -> int:
    """Do the work."""
    return await trivial(number, seconds)


async def durable(number: int, seconds: float = 0.0) -> int:
    """Do the work in a step, which is what does not run again once it is recorded."""
    return await work(number, seconds)


async def waiting(tracer: Tracer, number: int) -> int:
    """Wait for a person."""
    began(number)
    await tracer.lock("go", timeout=86_400)
    return number
