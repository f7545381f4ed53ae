"""The flow's entrypoint: splits the work, starts a Ray task for each part, adds up."""

import asyncio
from collections.abc import Awaitable

from koco import Tracer, remote, response

from __PACKAGE__.work import count_primes, split


async def primes(tracer: Tracer, limit: int = 200_000, slices: int = 8) -> response.Markdown:
    """Count the primes below a limit, in slices that are counted at the same time."""
    parts = split(limit, slices)
    await tracer.debug("counting in", len(parts), "slices")
    counts = await asyncio.gather(*(start(part, tracer) for part in parts))
    return response.Markdown(f"There are **{sum(counts):,}** primes below {limit:,}.")


def start(part: range, tracer: Tracer) -> Awaitable[int]:
    """Start a Ray task for one slice, on whichever node has a core to spare."""
    # The task works for this execution: what it reports or prints is in the flow's event stream.
    return remote(count_primes).remote(part, tracer)
