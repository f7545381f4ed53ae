"""Replay a recorded history with today's code: does it still make the recorded calls?"""

import asyncio
import threading
from _thread import get_ident
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco.events.questions import AccessFiles, LockOutcome, OpenLock, Question, WaitForLock
from koco.events.steps import PastStep, lock_id
from koco.runner.flow import Flow
from koco.runner.output.replay import Replay as Front
from koco.sdk.in_memory import Memory, Tracer
from koco.sdk.in_memory.tracer import Process
from koco.sdk.steps.journal import SETTLED, Call, Journal
from koco.store.model import History
from koco.testing import entrypoints, history
from koco.testing.execution import attempt
from koco.testing.outcome import Outcome

#: A replay is over if nothing has happened for so long since it reached the end of the history.
_QUIET_S = 0.2


@dataclass(frozen=True, slots=True)
class Replay:
    """Where a replay ended."""

    #: The keys of the calls that come next: steps, waits, locks. Empty if the flow ended.
    next: list[str]
    #: How the flow ended; None if it would go on.
    outcome: Outcome | None = None


def replays(
    flow: str | Callable[..., Any],
    history_of: history.Given,
    *,
    form: list[dict[str, Any]] | None = None,
) -> Replay:
    """Replay a history: prove that a flow's code still makes the calls that are recorded.

    No step runs: the recorded outcomes are returned, and the replay stops where there are none.
    Outcomes are decoded as a runner does it, which can run code that is in them (they may be
    pickles). So never replay a history from somebody whose code you would not run.

    Args:
        flow: the entrypoint, as `module:object` or the callable itself.
        history_of: the path of a file that `koco steps FID --export FILE` has written, its
            content, or `Outcome.history`.
        form: the manifest's `inputs`, if it has some.

    Raises:
        NonDeterministic: the flow makes another call than the recorded one; both are shown.
        AssertionError: the flow ends, or goes on, without a recorded call.
        UsageError: this is no history.
    """
    found = history.load(history_of)
    target, inputs, _ = entrypoints.find(flow, history.inputs_of(found), form, kodosumi=False)
    memory = Memory(fid=found.fid)
    process = _Replaying(memory)
    journal = _Journal(found, process)
    tracer = Tracer.of(memory, process, journal=journal)
    outcome = asyncio.run(_replay(target, inputs, tracer, process, journal))
    if journal.failure is not None:
        raise journal.failure
    _check(journal, process, outcome)
    return Replay(list(process.next), None if process.next else outcome)


class _Replaying(Process):
    """A process in which nothing is recorded: whatever the history does not have waits."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        #: The keys of the calls that wait, in order.
        self.next: dict[str, None] = {}
        self._locks: dict[str, OpenLock] = {}
        self._is_over = threading.Event()
        self._thread = get_ident()

    def end(self) -> None:
        super().end()
        self._is_over.set()

    def ask(self, fid: str, question: Question[Any]) -> Any:
        if self._is_new(question):
            self.hold()
        return super().ask(fid, question)

    async def ask_async(self, fid: str, question: Question[Any]) -> Any:
        if self._is_new(question):
            await self.hold_async()
        return super().ask(fid, question)

    def hold(self) -> None:
        """Block until the replay is over, and end the caller."""
        if get_ident() != self._thread:  # the loop's own thread must not be blocked
            self._is_over.wait()
        raise asyncio.CancelledError

    async def hold_async(self) -> None:
        """Wait until the replay is over, which cancels the caller."""
        await asyncio.get_running_loop().create_future()

    def _is_new(self, question: Question[Any]) -> bool:
        match question:
            case AccessFiles():
                return False
            case OpenLock():
                self._locks[question.lid] = question
                return False
            case WaitForLock():
                lock = self._locks[question.lid]
                self.next[lock.key or f"lock.{lock.name}"] = None
            case _:
                self.next[getattr(question, "key", question.NAME)] = None
        return True


class _Journal(Journal):
    """A journal in which no step runs."""

    def __init__(self, found: History, process: _Replaying) -> None:
        super().__init__(found.fid, process, history.past_of(found), durable=True)
        self._process = process
        settled = [each for each in found.steps if each.status in SETTLED]
        recorded = [(e.position, e.key, f"{e.kind} {e.key}({e.arguments})") for e in settled]
        recorded += [(e.position, e.key, f"lock {e.key}") for e in found.locks]
        self._recorded = {key: shown for _, key, shown in sorted(recorded)}
        self._lids = {lock_id(found.fid, each.key): each.key for each in found.locks}

    @property
    def left(self) -> list[str]:
        """The recorded calls that the flow has not made again, for people."""
        return list(self._recorded.values())

    def settled_lock(self, lid: str) -> LockOutcome | None:
        self._recorded.pop(self._lids.get(lid, ""), None)
        return super().settled_lock(lid)

    def take(self, call: Call) -> PastStep | None:
        past = super().take(call)
        if past is not None:
            self._recorded.pop(past.key, None)
        return past

    def admit(self, call: Call) -> None:
        self._process.next[call.key] = None
        self._process.hold()

    async def admit_async(self, call: Call) -> None:
        self._process.next[call.key] = None
        await self._process.hold_async()


async def _replay(
    flow: Flow, inputs: Any, tracer: Tracer, process: _Replaying, journal: _Journal
) -> Outcome | None:
    """Run a flow until it ends, or until all that it could do is not in the history."""
    running = asyncio.create_task(attempt(flow, inputs, tracer, Front(process)))
    seen = (-1, -1)
    while not running.done():
        await asyncio.wait({running}, timeout=_QUIET_S)
        now = journal.position, len(process.next)
        if process.next and now == seen:
            process.end()
            process.on_crash()  # cancels the flow
            await running
            return None
        seen = now
    return running.result()


def _check(journal: _Journal, process: _Replaying, outcome: Outcome | None) -> None:
    """Raise `AssertionError` if the history has more than today's code asks for."""
    if not journal.left:
        return
    if outcome is None:
        now = f"goes on with {', '.join(process.next)}"
    elif outcome.error is not None:
        now = f"ends with {outcome.error['type']}: {outcome.error['message']}"
    else:
        now = "ends"
    raise AssertionError(
        f"the history goes on with the {journal.left[0]}; today's code {now} instead\n"
        "hint: a release that resumes this execution would not replay it; keep the recorded calls "
        "in their order, or let it end on its own release"
    )
