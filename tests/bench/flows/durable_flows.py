"""Durable flows that do as little as a measure needs."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from koco import Tracer, step

#: When `work` began in this process (seconds since the epoch).
_BEGAN: list[float] = []


@step
async def nothing(number: int) -> int:
    """Do nothing."""
    return number


@step
def nothing_sync(number: int) -> int:
    """Do nothing."""
    return number


@step
async def tell(log: str) -> None:
    """Write down the process, when the flow began in it, and when this ran; then pause."""
    _write(log)
    # In the step, because a pause in the flow would be repeated by each replay.
    await asyncio.sleep(0.01)


def _write(log: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{os.getpid()} {_BEGAN[-1]} {time.time()}\n")


async def one_by_one(count: int) -> dict[str, Any]:
    """Time steps, one after another (milliseconds); say when it began and ended."""
    took, began = [], time.time()
    for number in range(count):
        begin = time.perf_counter()
        await nothing(number)
        took.append((time.perf_counter() - begin) * 1e3)
    return {"took": took, "began": began, "ended": time.time()}


def one_by_one_sync(count: int) -> dict[str, Any]:
    """Do the same in a thread."""
    took, began = [], time.time()
    for number in range(count):
        begin = time.perf_counter()
        nothing_sync(number)
        took.append((time.perf_counter() - begin) * 1e3)
    return {"took": took, "began": began, "ended": time.time()}


async def together(count: int) -> float:
    """Gather so many steps; return the seconds that it took."""
    begin = time.perf_counter()
    await asyncio.gather(*(nothing(number) for number in range(count)))
    return time.perf_counter() - begin


async def work(log: str, count: int = 0) -> None:
    """Do so many steps, and go on with others until the process is killed or it is cancelled."""
    _BEGAN.append(time.time())
    for number in range(count):
        await nothing(number)
    while True:
        await tell(log)


async def ask(tracer: Tracer, log: str) -> None:
    """Do a step, wait for a person, and do another step."""
    _BEGAN.append(time.time())
    await nothing(1)
    await tracer.lock("approval", timeout=30 * 86_400)
    await tell(log)
