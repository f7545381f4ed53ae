"""Run a flow in a thread of this process. Its events are a stream, as those of a control plane."""

import asyncio
import concurrent.futures
import contextlib
import functools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from koco.cli.local_run.desk import Desk
from koco.client import answers
from koco.client.stream import Stream
from koco.errors import UsageError
from koco.events import line
from koco.events.model import FINAL, Kind, Status
from koco.events.questions import (
    A,
    CallFlow,
    OpenLock,
    Question,
    Receive,
    WaitForLock,
    WithdrawLock,
)
from koco.runner.flow import Flow
from koco.runner.output.replay import Replay
from koco.sdk.in_memory import Memory, Tracer
from koco.sdk.in_memory.tracer import Process
from koco.testing.execution import attempt
from koco.testing.outcome import Outcome

#: How long an execution that was cancelled may take to end (seconds).
_GRACE_S = 2.0

#: What a hint says of questions that only a control plane can answer.
_ELSEWHERE = "`koco run … --remote` runs it on the cluster, and `koco dev` runs whole projects"


class Events(Stream):
    """The events of an execution in this process."""

    def __init__(self) -> None:
        #: Empty, because no command finds the execution by it.
        self.fid = ""
        self.last_seq = 0
        self.status: str | None = None
        #: Lines of events; None once there are no more.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def put(self, event: bytes | None) -> None:
        """Take an event's line, or None for the end."""
        self._lines.put(event)

    def __iter__(self) -> Iterator[list[bytes]]:
        while (event := self._lines.get()) is not None:
            self.last_seq += 1
            whole = line.with_seq(self.last_seq, event)
            if self.read_kind(whole) == "status":
                status = self.decode(whole)["payload"]["status"]
                self.status = status if status in FINAL else self.status
            yield [whole]

    def decode(self, line: bytes) -> answers.Event:
        """Return a line's event."""
        return msgspec.json.decode(line, type=answers.Event)

    def waits(self) -> str | None:
        """Return None: it waits for nobody but the person here."""
        return None


class Execution:
    """One run of a flow, with its memory, its files and its locks."""

    def __init__(self, flow: Flow, inputs: Any, *, memory: "Kept", desk: Desk) -> None:
        self.fid = memory.fid
        self.outcome: Outcome | None = None
        self._events = memory.stream
        self._desk = desk
        process = _Process(memory, desk)
        front = Replay(process)
        self._tracer = Tracer.of(memory, process, files=desk.files, sink=front)
        self._attempt = functools.partial(attempt, flow, inputs, self._tracer, front)
        # A daemon, so that a flow that does not end keeps no terminal.
        self._thread = threading.Thread(target=self._to_the_end, name="koco-run", daemon=True)

    def start(self) -> Events:
        """Start it, and return its events."""
        self._thread.start()
        return self._events

    def cancel(self) -> None:
        """Cancel it, and wait a little until it has ended."""
        with contextlib.suppress(RuntimeError):  # its loop has just ended
            self._tracer.process.on_crash()
        self._desk.close()
        self._thread.join(_GRACE_S)

    def _to_the_end(self) -> None:
        status = Status.ERROR
        try:
            self.outcome = asyncio.run(self._attempt())
            status = self.outcome.status
        finally:
            self._events.put(line.encode(Kind.STATUS, {"status": status}))
            self._events.put(None)


class Kept(Memory):
    """What is stored of an execution; its events also go to a stream."""

    def __init__(self, fid: str, stream: Events, desk: Desk, *, by: str) -> None:
        super().__init__(fid=fid, answering=desk.outcome, by=by)
        self.stream = stream
        self._turn = threading.Lock()

    def put(self, event: bytes) -> None:
        """Store an event, and show it."""
        with self._turn:
            super().put(event)
            self.stream.put(event)


class _Process(Process):
    """The sink of a flow in this process: a person answers its locks, and nobody anything else."""

    def __init__(self, memory: Memory, desk: Desk) -> None:
        super().__init__(memory)
        self._desk = desk

    def ask(self, fid: str, question: Question[A]) -> Any:
        """Answer a question; block until a person has answered a lock."""
        self._note(question)
        if isinstance(question, WaitForLock):
            future, left_s = self._desk.waiting(question.lid)
            concurrent.futures.wait([future], timeout=left_s)
        return super().ask(fid, question)

    async def ask_async(self, fid: str, question: Question[A]) -> Any:
        """Do the same without blocking the flow's loop."""
        self._note(question)
        if isinstance(question, WaitForLock):
            future, left_s = self._desk.waiting(question.lid)
            # Shielded, because a flow that gives up must not settle the lock.
            waiting = asyncio.shield(asyncio.wrap_future(future))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting, left_s)
        return super().ask(fid, question)

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        """Raise `UsageError`: what runs in another process cannot reach this one.

        It must not be a `TypeError`: Ray would replace that by a report of its own.
        """
        raise UsageError(
            f"this tracer stays in its process, so no Ray task can have it (hint: {_ELSEWHERE})"
        )

    def _note(self, question: Question[Any]) -> None:
        match question:
            case OpenLock():
                self._desk.open(question)
            case WithdrawLock():
                self._desk.withdraw(question.lid)
            case CallFlow():
                raise UsageError(
                    f"the flow {question.flow!r} cannot be called here: no control plane takes part"
                    f" (hint: {_ELSEWHERE})"
                )
            case Receive(timeout_s=None):
                raise UsageError(
                    f"nobody can send the message {question.name!r} here: no control plane takes"
                    f" part (hint: {_ELSEWHERE})"
                )
