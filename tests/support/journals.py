"""A journal's sink in memory, which commits at once, and runs of flows with it."""

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from koco.events import steps
from koco.events.questions import LockOutcome, OpenLock, ReadStep, WaitForLock, WaitOutcome
from koco.events.steps import Past, PastLock, PastStep, StepRecord, StepStatus
from koco.sdk.in_memory.records import past_step, past_wait
from koco.sdk.steps import places
from koco.sdk.steps.journal import Journal
from koco.sdk.tracer import Tracer

FID = "0123456789abcdef"


class Killed(BaseException):
    """Ends a flow as the death of its process: nothing more of it is recorded."""


class MemorySink:
    """Keeps what is recorded. `answers` are the outcomes of waits and locks, by key or name.

    `dies_after` is the number of outcomes after which the process dies.
    """

    def __init__(self, answers: dict[str, Any] | None = None, *, dies_after: int = -1) -> None:
        self.answers = answers or {}
        self.events: list[bytes] = []
        self.records: list[StepRecord] = []
        #: Records of steps that take a while, which on a busy machine may be any.
        self.running: list[StepRecord] = []
        self.asked: list[Any] = []
        self.waits: list[PastStep] = []
        self.locks: list[PastLock] = []
        self.results: dict[str, bytes] = {}
        self.dies_after = dies_after
        self._names: dict[str, str] = {}
        self._gate = threading.Lock()

    def put(self, fid: str, event: bytes) -> None:
        self.events.append(event)

    async def put_async(self, fid: str, event: bytes) -> None:
        self.put(fid, event)

    def record(self, fid: str, event: bytes) -> None:
        line, record = steps.split_line(event)
        assert record is not None
        with self._gate:
            if record.status is StepStatus.RUNNING:
                self.running.append(record)
            else:
                self.events.append(line)
                self.records.append(record)

    def commit(self, fid: str, event: bytes) -> None:
        if self.dies_after == 0:
            raise Killed
        self.record(fid, event)
        self.dies_after -= self.records[-1].status.is_final

    async def commit_async(self, fid: str, event: bytes) -> None:
        self.commit(fid, event)

    async def ask_async(self, fid: str, question: Any) -> Any:
        self.asked.append(question)
        match question:
            case ReadStep():
                return base64.b64encode(self.results[question.key]).decode()
            case OpenLock():
                self._names[question.lid] = question.name
                return None
            case WaitForLock():
                answer = await self._answer(self._names[question.lid])
                outcome = LockOutcome(status="answered", answer=answer)
                self.locks.append(PastLock(question.lid, msgspec.json.encode(outcome)))
                return outcome
            case _ if question.NAME.endswith("withdraw"):
                return None
        found = await self._answer(question.key)
        outcome = (
            found if isinstance(found, WaitOutcome) else WaitOutcome(status="finished", value=found)
        )
        self.waits.append(past_wait(question, outcome))
        return outcome

    async def _answer(self, name: str) -> Any:
        answer = self.answers.get(name, asyncio.Future())
        return await answer if isinstance(answer, Awaitable) else answer

    def ask(self, fid: str, question: Any) -> Any:
        return asyncio.run(self.ask_async(fid, question))

    def travel(self) -> Any:
        return MemorySink, ()

    def past(self) -> Past:
        """Return what is stored, for a replay."""
        kept: dict[str, PastStep] = {}
        for record in [*self.running, *self.records]:
            if record.key not in kept or not kept[record.key].status.is_final:
                kept[record.key] = past_step(record)
        return Past([*kept.values(), *self.waits], list(self.locks))


def play(
    flow: Callable[[Tracer], Any],
    sink: MemorySink | None = None,
    past: Past | None = None,
    *,
    origin: str = "",
    step_bytes: int = 1 << 20,
) -> Any:
    """Run a flow, async or not, as a runner does; return its result."""
    sink = sink or MemorySink()
    journal = Journal(FID, sink, past, origin=origin, durable=True, step_bytes=step_bytes)
    tracer = Tracer(FID, sink, journal)
    if not asyncio.iscoroutinefunction(flow):
        token = places.here.set(journal.main)
        try:
            return flow(tracer)
        finally:
            places.here.reset(token)

    async def run() -> Any:
        asyncio.get_running_loop().set_task_factory(places.make_task)
        journal.enter()
        journal.main.has_task = True
        return await flow(tracer)

    return asyncio.run(run())
