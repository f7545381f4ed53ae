"""Gaps between primes, found by parallel Ray tasks that report their progress themselves.

koco deploy                                  # at the root of the repository
koco run prime/gaps -i end=1000000 -f        # an `async def`
koco run prime/gaps-sync -i tasks=8 -f       # the same as a plain function
"""

import asyncio
from itertools import pairwise
from math import isqrt

import ray

from koco import Tracer, response


@ray.remote
def primes_in(low: int, high: int, tracer: Tracer) -> list[int]:
    """Return the primes from `low` to below `high`; runs on whichever node has a core to spare."""
    found = [n for n in range(max(2, low), high) if all(n % d for d in range(2, isqrt(n) + 1))]
    # The tracer came along: this is an event of the execution that started the task.
    tracer.result_sync({"from": low, "to": high, "primes": len(found)})
    return found


async def gaps(tracer: Tracer, end: int, tasks: int) -> response.Markdown:
    """Find the widest gaps between the primes below `end`."""
    parts = split(end, tasks)
    await tracer.debug("looking in", len(parts), "parts")
    return widest(await asyncio.gather(*[primes_in.remote(*part, tracer) for part in parts]))


def gaps_sync(tracer: Tracer, end: int, tasks: int) -> response.Markdown:
    """Find the widest gaps between the primes below `end`."""
    parts = split(end, tasks)
    tracer.debug_sync("looking in", len(parts), "parts")
    return widest(ray.get([primes_in.remote(*part, tracer) for part in parts]))


def split(end: int, tasks: int) -> list[tuple[int, int]]:
    """Return the numbers below `end` in at most so many parts of about the same size."""
    size = -(-end // tasks)
    return [(low, min(low + size, end)) for low in range(0, end, size)]


def widest(parts: list[list[int]], count: int = 5) -> response.Markdown:
    """Return a table of the widest gaps, those across the parts' borders included."""
    primes = [prime for part in parts for prime in part]
    found = sorted(pairwise(primes), key=lambda pair: pair[0] - pair[1])[:count]
    rows = "\n".join(f"| {after - before} | {before:,} | {after:,} |" for before, after in found)
    return response.Markdown(
        f"Among {len(primes):,} primes:\n\n| gap | from | to |\n|---:|---:|---:|\n{rows}"
    )
