"""Encode a flow's result as an event without holding up the runner: its values are user code."""

import asyncio
import contextlib
import threading
from typing import Any

from koco.events import line, text_values
from koco.events.model import Kind

#: How long a value may take to become JSON (seconds).
PATIENCE_S = 30.0


async def encode_event(kind: Kind, payload: Any, *, patience_s: float = PATIENCE_S) -> bytes:
    """Return an event's line. If that takes longer than `patience_s`, only its type is recorded."""
    if line.encode_simple(payload) is not None:
        return line.encode(kind, payload)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def encode() -> None:
        text = line.encode(kind, payload)
        with contextlib.suppress(RuntimeError):  # too late, the loop has ended
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(text))

    # Its own thread: if a `__repr__` never returns, a pool would lose a thread for ever.
    threading.Thread(target=encode, name="koco-encoding", daemon=True).start()
    try:
        return await asyncio.wait_for(done, patience_s)
    except TimeoutError:
        name = text_values.name_of(type(payload))
        said = f"<{name}: it did not become JSON within {patience_s:g} s>"
        return line.encode(kind, {"$repr": said, "$type": name})
