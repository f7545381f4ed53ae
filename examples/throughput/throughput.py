"""How fast events become durable: results and output for some seconds, and their rate.

    koco deploy                               # at the root of the repository
    koco run throughput/flood --wait
    koco result -

Nothing is dropped: while koco's buffer is full, writing waits. So the rate is what
the whole way to the disk can take.
"""

import time
from typing import Any

from koco import Tracer


async def flood(tracer: Tracer, seconds: float) -> dict[str, Any]:
    """Write a result and a line of output, again and again."""
    began = time.monotonic()
    pairs = 0
    while time.monotonic() - began < seconds:
        await tracer.result(pairs)
        print("line", pairs)
        pairs += 1
    took_s = time.monotonic() - began
    return {"results": pairs, "lines": pairs, "events_per_second": round(2 * pairs / took_s)}
