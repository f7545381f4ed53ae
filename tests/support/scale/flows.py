"""Flows of the storm at scale, deployed as they stand here: the file is each service's code.

What they write is said by `tests.support.scale.plan`. Each step appends a line to the file that the
variable `EFFECTS` names, so that somebody else than koco knows what ran.
"""

import asyncio
import os
import time
from pathlib import Path

from koco import Tracer, step


def take_effect(key: str) -> None:
    """Record a step outside, in one piece."""
    line = f"{key} {os.getpid()} {time.time():.6f}\n".encode()
    with Path(os.environ["EFFECTS"]).open("ab", buffering=0) as file:
        file.write(line)


async def emit(tracer: Tracer, number: int, count: int, pause: float = 0.0) -> list[int]:
    """Write so many results."""
    for each in range(count):
        await tracer.result([number, each])
        await asyncio.sleep(pause)
    return [number, count]


def count(tracer: Tracer, number: int, count: int, pause: float = 0.0) -> list[int]:
    """Write lines and results in turn, blocking."""
    for each in range(count):
        print("line", number, each)
        tracer.result_sync([number, each])
        time.sleep(pause)
    return [number, count]


@step
async def effect(tracer: Tracer, value: int, pause: float) -> int:
    """Do something that is seen outside, and return what follows from it."""
    take_effect(tracer.step_key)
    await asyncio.sleep(pause)
    return value + 1


async def steps(tracer: Tracer, number: int, count: int, pause: float = 0.0) -> list[int]:
    """Take so many steps, and write the outcome of each."""
    value = 0
    for each in range(count):
        value = await effect(tracer, value, pause)
        await tracer.result([number, each])
    return [number, value]


async def family(tracer: Tracer, number: int, count: int, pause: float = 0.0) -> list[int]:
    """Take a step, then have a child take the others."""
    value = await effect(tracer, 0, pause)
    inputs = {"number": number, "count": count - 1, "pause": pause}
    [_, more] = await tracer.call("kept/steps", inputs)
    return [number, value + more]


async def ping() -> str:
    """Do nothing."""
    return "pong"
