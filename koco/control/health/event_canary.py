"""Proves that events travel: sends one as a runner does, and reads it as a follower does.

The event takes the same path as all others: a call to the control plane's actor, the spooler, the
store, a commit, and the reader that the commit wakes. This path may be broken although the process
is up and its port answers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from koco.control.container import Parts
from koco.errors import KocoError
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.model import PROOF, NewExecution

#: Sends encoded batches; returns their encoded acknowledgements.
Send = Callable[[bytes], Awaitable[bytes]]

#: The text of the event that is sent and must arrive.
_WORDS = "an event has travelled"


async def travel_s(parts: Parts, send: Send) -> float:
    """Return how long an event took from its sender to a reader (seconds).

    Raises:
        KocoError: It was refused, or did not arrive as it was sent.
    """
    # Also removes the leftovers of a control plane that died during its proof.
    await parts.store.executions.forget_proofs()
    execution, _ = await parts.store.executions.create(
        NewExecution(flow=PROOF, service="", release=0, inputs={})
    )
    try:
        reader = asyncio.ensure_future(_read(parts, execution.fid))
        try:
            await asyncio.sleep(0)  # let the reader start and wait for events
            begun = time.monotonic()
            body = line.encode(Kind.DEBUG, _WORDS)
            batch = Batch(execution.fid, "proof", 1, 1, body)
            [ack] = wire.decode_acks(await send(wire.encode_batches([batch])))
            if ack.last != 1:
                raise KocoError("the store did not accept an event")
            # Only a runner may end an execution through its events, and this one has no runner.
            await parts.store.executions.settle(execution.fid, Status.FINISHED)
            parts.spooler.wake(execution.fid)
            if _WORDS.encode() not in await reader:
                raise KocoError("a follower did not get the event that was sent")
            return time.monotonic() - begun
        finally:
            reader.cancel()
    finally:
        await parts.store.executions.forget_proofs()


async def _read(parts: Parts, fid: str) -> bytes:
    execution = await parts.store.executions.get(fid)
    events = parts.spooler.follow(execution, heartbeat_s=parts.heartbeat_s)
    return b"".join([piece async for piece in events])
