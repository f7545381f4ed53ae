"""Flows that do as little as a measure needs."""

import asyncio
import time

from koco import Tracer


async def trivial() -> int:
    """Return at once."""
    return 1


async def hello(tracer: Tracer) -> None:
    """Write one event."""
    await tracer.result(1)


async def tick(tracer: Tracer, n: int = 200, pause: float = 0.02) -> int:
    """Write one event at a time, each with the time at which it was written."""
    for _ in range(n):
        await tracer.result(time.time())
        await asyncio.sleep(pause)
    return n


async def burst(tracer: Tracer, n: int = 100_000) -> int:
    """Write events as fast as they are taken."""
    for number in range(n):
        await tracer.result(number)
    return n


async def bulk(tracer: Tracer, n: int, size: int) -> int:
    """Write events of a size (bytes)."""
    text = "x" * size
    for _ in range(n):
        await tracer.result(text)
    return n


async def sleep(seconds: float = 5.0) -> float:
    """Sleep."""
    await asyncio.sleep(seconds)
    return seconds


def sleep_sync(seconds: float = 5.0) -> float:
    """Sleep, and block."""
    time.sleep(seconds)
    return seconds


async def approve(tracer: Tracer) -> object:
    """Wait for a person."""
    return await tracer.lock("approval", timeout=3600)


def approve_sync(tracer: Tracer) -> object:
    """Wait for a person, and block."""
    return tracer.lock_sync("approval", timeout=3600)
