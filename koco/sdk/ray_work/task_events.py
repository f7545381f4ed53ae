"""Send events from a process that is not a runner: a Ray task or actor that got a tracer.

Such a process may end as soon as its function returns, without notice. So an event counts as
written only once it is committed, and `put` returns then. Events that several threads write
meanwhile go in one call. Printed lines are gathered: they are sent with the next event, after a
moment, or at the end of their task.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from koco.errors import UsageError
from koco.events import wire
from koco.events.questions import A, Question
from koco.events.wire import Batch
from koco.sdk.process.control_client import Control
from koco.sdk.tracer import Sink

#: Pause before events that the store could not take are sent again (seconds).
_AGAIN_S = 0.1

#: How much printed output may wait (bytes): Ray passes up to 100 KiB along with a call.
_GATHERED_BYTES = 64 * 1024

#: How many executions' producers are kept for further events. An actor may get the tracers of a
#: million executions, and never learns that one has ended.
_REMEMBERED = 256

_sinks: "dict[int, RemoteSink]" = {}
_sinks_lock = threading.Lock()


def remote_sink(
    control: Control, attempt: int = 0, make: Callable[..., Sink] | None = None
) -> "RemoteSink":
    """Return this process's sink for an attempt. It is shared, as there is one control plane.

    `make` creates a sink in another process; by default it is this function.
    """
    with _sinks_lock:
        if attempt not in _sinks:
            _sinks[attempt] = RemoteSink(control, attempt, make or remote_sink)
        return _sinks[attempt]


class RemoteSink:
    """A sink that waits until each event is committed."""

    def __init__(
        self, control: Control, attempt: int = 0, make: Callable[..., Sink] = remote_sink
    ) -> None:
        self._control = control
        self._attempt = attempt
        self._make = make
        #: By fid; the most recently used is last.
        self._producers: dict[str, Producer] = {}
        self._lock = threading.Lock()

    def put(self, fid: str, event: bytes) -> None:
        """Commit an event; block until it is committed."""
        self.producer(fid).put(event)

    def producer(self, fid: str) -> "Producer":
        """Return the producer that numbers an execution's events in this process."""
        with self._lock:
            producer = self._producers.pop(fid, None)
            if producer is None:
                producer = Producer(fid, self._control, self._attempt)
            self._producers[fid] = producer
            if len(self._producers) > _REMEMBERED:
                # Its events are committed, or their writer is sending them right now.
                del self._producers[next(iter(self._producers))]
        return producer

    async def put_async(self, fid: str, event: bytes) -> None:
        """Commit an event; wait until it is committed."""
        await asyncio.to_thread(self.put, fid, event)

    def record(self, fid: str, event: bytes) -> None:
        """Refuse: see `commit`."""
        self.commit(fid, event)

    def commit(self, fid: str, event: bytes) -> None:
        """Refuse: steps belong to the flow's own process."""
        raise UsageError(
            "a Ray task cannot record a step",
            hint="call the task inside a step of the flow: the whole task is that step then",
        )

    async def commit_async(self, fid: str, event: bytes) -> None:
        """Refuse: see `commit`."""
        self.commit(fid, event)

    def ask(self, fid: str, question: Question[A]) -> A:
        """Ask the control plane; see `Sink.ask`. Earlier events are committed already."""
        blob = wire.encode_question(fid, question, attempt=self._attempt)
        return wire.decode_answer(self._control.call_sync("ask", blob), question)

    async def ask_async(self, fid: str, question: Question[A]) -> A:
        """Do the same, without blocking."""
        blob = wire.encode_question(fid, question, attempt=self._attempt)
        # Without a thread, because an answer may take hours.
        return wire.decode_answer(await self._control.call("ask", blob), question)

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        """Return a function and its arguments that make a sink in another process."""
        return self._make, (self._control, self._attempt)


class Producer:
    """Numbers one execution's events in this process, and sends the gathered ones."""

    def __init__(self, fid: str, control: Control, attempt: int = 0) -> None:
        self._fid = fid
        self._control = control
        self._attempt = attempt
        self._name = secrets.token_hex(6)
        self._gathered: list[bytes] = []
        self._bytes = 0
        #: Whether the execution no longer takes events.
        self.is_closed = False
        #: The batch that is being sent; its last event has the number `_taken`.
        self._sending: bytes | None = None
        self._taken = 0
        self._acked = 0
        self._gather = threading.Lock()
        self._send = threading.Lock()

    def put(self, event: bytes) -> None:
        """Commit an event; block until it is committed."""
        with self._gather:
            self._gathered.append(event)
        self.flush()

    def gather(self, event: bytes) -> None:
        """Keep an event for the next `put` or `flush`; block if too many are waiting."""
        with self._gather:
            if self.is_closed:
                return
            self._gathered.append(event)
            self._bytes += len(event)
            is_full = self._bytes >= _GATHERED_BYTES
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Commit all gathered events; block until they are committed."""
        with self._gather:
            mine = self._taken + len(self._gathered)
        with self._send:
            # The previous holder of the lock may have sent these events as well.
            while self._acked < mine:
                self._flush()

    def _flush(self) -> None:
        # Sent until it is acknowledged; if this writer is cancelled, the next one goes on. The
        # store accepts nothing after a gap, and drops what it has seen before.
        if self._sending is None:
            self._sending = self._batch()
        while not self._deliver(self._sending):
            time.sleep(_AGAIN_S)
        self._acked, self._sending = self._taken, None

    def _batch(self) -> bytes:
        with self._gather:
            events, self._gathered, self._bytes = self._gathered, [], 0
            first = self._taken + 1
            self._taken += len(events)
        body = b"\n".join(events)
        batch = Batch(self._fid, self._name, first, len(events), body, attempt=self._attempt)
        return wire.encode_batches([batch])

    def _deliver(self, blob: bytes) -> bool:
        ack = wire.decode_acks(self._control.call_sync("append", blob))[0]
        self.is_closed = self.is_closed or ack.closed
        return ack.closed or ack.last >= self._taken
