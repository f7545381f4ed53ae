"""Events from a process that is no runner: a Ray task or actor that was handed a tracer.

Such a process may end as soon as its function returns, and nothing tells us
before. So an event counts as written when it is committed: `put` returns then.
What several threads write meanwhile goes in one call.
"""

import asyncio
import secrets
import threading
import time
from typing import Any

from koco.events import wire
from koco.events.model import Batch
from koco.sdk.control import Control
from koco.sdk.tracer import Sink

#: Pause before what the store could not take goes once more (seconds).
_AGAIN_S = 0.1

#: Executions whose producer is kept for their next event: an actor may be handed the tracers
#: of a million, and is told of none that it has ended.
_REMEMBERED = 256

_sinks: "dict[int, RemoteSink]" = {}
_sinks_lock = threading.Lock()


def remote_sink(control: Control, attempt: int = 0) -> Sink:
    """Return this process's sink for such attempts: a cluster has one control plane."""
    with _sinks_lock:
        if attempt not in _sinks:
            _sinks[attempt] = RemoteSink(control, attempt)
        return _sinks[attempt]


class RemoteSink:
    """A sink that waits for each event's commit."""

    def __init__(self, control: Control, attempt: int = 0) -> None:
        self._control = control
        self._attempt = attempt
        #: By fid; who wrote last is at the end.
        self._producers: dict[str, _Producer] = {}
        self._lock = threading.Lock()

    def put(self, fid: str, event: bytes) -> None:
        """Commit an event; block until it is."""
        with self._lock:
            producer = self._producers.pop(fid, None)
            if producer is None:
                producer = _Producer(fid, self._control, self._attempt)
            self._producers[fid] = producer
            if len(self._producers) > _REMEMBERED:
                # What it has taken is committed, or is being sent by whoever wrote it.
                del self._producers[next(iter(self._producers))]
        producer.put(event)

    async def put_async(self, fid: str, event: bytes) -> None:
        """Commit an event; wait until it is."""
        await asyncio.to_thread(self.put, fid, event)

    def ask(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        """Ask the control plane; see `Sink.ask`. What was written before is committed already."""
        blob = wire.encode_question(fid, question, arguments, attempt=self._attempt)
        return wire.decode_answer(self._control.call_sync("ask", blob))

    async def ask_async(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        """Do the same, waiting."""
        blob = wire.encode_question(fid, question, arguments, attempt=self._attempt)
        # No thread for it: an answer may take hours.
        return wire.decode_answer(await self._control.call("ask", blob))

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        """Return what makes a sink in another process."""
        return remote_sink, (self._control, self._attempt)


class _Producer:
    """Numbers one execution's events in this process and sends what has gathered."""

    def __init__(self, fid: str, control: Control, attempt: int = 0) -> None:
        self._fid = fid
        self._control = control
        self._attempt = attempt
        self._name = secrets.token_hex(6)
        self._gathered: list[bytes] = []
        #: What is under way: it ends with the event of the number `_taken`.
        self._sending: bytes | None = None
        self._taken = 0
        self._acked = 0
        self._gather = threading.Lock()
        self._send = threading.Lock()

    def put(self, event: bytes) -> None:
        with self._gather:
            self._gathered.append(event)
            mine = self._taken + len(self._gathered)
        with self._send:
            # Whoever had the lock before may have sent this one along.
            while self._acked < mine:
                self._flush()

    def _flush(self) -> None:
        # Sent until it is acknowledged, by the next writer where this one is cancelled meanwhile:
        # behind a gap nothing would be taken any more. The store drops what it has seen.
        if self._sending is None:
            self._sending = self._batch()
        while not self._deliver(self._sending):
            pass
        self._acked, self._sending = self._taken, None

    def _batch(self) -> bytes:
        with self._gather:
            events, self._gathered = self._gathered, []
            first = self._taken + 1
            self._taken += len(events)
        body = b"\n".join(events)
        batch = Batch(self._fid, self._name, first, len(events), body, attempt=self._attempt)
        return wire.encode_batches([batch])

    def _deliver(self, blob: bytes) -> bool:
        ack = wire.decode_acks(self._control.call_sync("append", blob))[0]
        if ack.closed or ack.last >= self._taken:
            return True
        time.sleep(_AGAIN_S)
        return False
