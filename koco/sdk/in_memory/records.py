"""What a flow in a test has recorded: its steps, waits and locks, which survive its crashes."""

import asyncio
import inspect
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from koco.events import datetimes, line, steps
from koco.events.model import Kind
from koco.events.questions import CallFlow, LockOutcome, OpenLock, Receive, Sleep, WaitOutcome
from koco.events.steps import (
    Past,
    PastLock,
    PastStep,
    StepKind,
    StepRecord,
    StepStatus,
    describe,
)

#: A wait of a flow.
Wait = Sleep | Receive | CallFlow

#: Called with a kind and a payload, to write an event.
Note = Callable[[Kind, Any], object]


@dataclass(frozen=True, slots=True)
class Answered:
    """A settled lock, at its place in the flow; the key is empty if it has none."""

    key: str
    name: str
    outcome: LockOutcome


class Records:
    """The records of one execution. Its waits are over at once, as the test says.

    Args:
        messages: the messages to the execution, by name: one, or a list of them.
        children: the results of other flows, by `service/flow`.
        failures: where to add why the test fails.
        note: writes an event.
    """

    def __init__(
        self,
        messages: Mapping[str, Any],
        children: Mapping[str, Any],
        failures: list[str],
        note: Note,
    ) -> None:
        self._messages = {name: _listed(each) for name, each in messages.items()}
        self._children = dict(children)
        self._failures = failures
        self._note = note
        self._gate = threading.Lock()
        self._launched: dict[str, WaitOutcome] = {}
        #: How far the test's clock is ahead of the real one (seconds).
        self._ahead_s = 0.0
        #: By key, in the order of their outcomes.
        self.entries: dict[str, PastStep] = {}
        #: By the lock's id.
        self.locks: dict[str, Answered] = {}

    def past(self) -> Past:
        """Return everything that a process of this execution has to know of the former ones."""
        # The test's own exception is raised again, which only a question can do.
        locks = [
            PastLock(lid, msgspec.json.encode(each.outcome))
            for lid, each in self.locks.items()
            if each.outcome.status == "answered"
        ]
        return Past(steps=self.in_order(with_locks=False), locks=locks)

    def in_order(self, *, with_locks: bool) -> list[PastStep]:
        """Return the recorded steps in the order of their calls."""
        entries = sorted(self.entries.values(), key=lambda entry: entry.position)
        return [each for each in entries if with_locks or each.kind is not StepKind.LOCK]

    def keep(self, record: StepRecord) -> None:
        """Take a record of a step; one that has an outcome stays as it is."""
        known = self.entries.get(record.key)
        if known is not None and known.status.is_final:
            return
        self.entries.pop(record.key, None)
        self.entries[record.key] = past_step(record)

    def settle_lock(self, lock: OpenLock, outcome: LockOutcome) -> Answered:
        """Record how a lock ended."""
        settled = self.locks[lock.lid] = Answered(lock.key, lock.name, outcome)
        if lock.key:
            is_answered = outcome.status == "answered"
            status = StepStatus.FINISHED if is_answered else StepStatus.EXPIRED
            ended = WaitOutcome(status=status, value=outcome.answer, moments=outcome.moments)
            self.entries[lock.key] = past_wait(lock, ended)
        return settled

    def settle(self, wait: Wait) -> WaitOutcome:
        """Return how a wait ends, which is recorded."""
        if (known := self.entries.get(wait.key)) is not None:
            return msgspec.json.decode(known.result or b"", type=WaitOutcome)
        match wait:
            case Sleep():
                self._pass(wait.until, wait.seconds or 0.0)
                outcome = WaitOutcome(status=StepStatus.FINISHED)
            case Receive():
                outcome = self._receive(wait)
            case _:
                outcome = self._call(wait)
        self.entries[wait.key] = past = past_wait(wait, outcome)
        event = describe(past.key, past.kind, past.status, fid=outcome.fid)
        self._note(Kind.STEP, event)
        return outcome

    def _pass(self, until: float | None, seconds: float) -> None:
        """Put the test's clock forward to a time, or by so many seconds."""
        now = time.time() + self._ahead_s
        with self._gate:
            self._ahead_s += max(0.0, seconds if until is None else until - now)

    def _receive(self, wait: Receive) -> WaitOutcome:
        with self._gate:
            waiting = self._messages.get(wait.name, [])
            if waiting:
                return _finished(waiting.pop(0))
        if wait.timeout_s is None:
            self._fail(f"the test has no message {wait.name!r} left, and the flow waits for one")
        self._pass(None, wait.timeout_s or 0.0)
        return WaitOutcome(status=StepStatus.EXPIRED)

    def _call(self, wait: CallFlow) -> WaitOutcome:
        if wait.launch_key is not None and (known := self._launched.get(wait.launch_key)):
            return known
        if wait.waits and wait.flow not in self._children:
            self._fail(f"the test has no result of the flow {wait.flow!r}, which the flow calls")
        fid = f"{len(self._launched) + 1:016d}"
        outcome = self._ended(wait, self._children.get(wait.flow), fid)
        self._launched[wait.launch_key or fid] = outcome
        return outcome

    def _ended(self, wait: CallFlow, child: Any, fid: str) -> WaitOutcome:
        """Return how a child ends: by the test's value, exception or function."""
        try:
            if isinstance(child, BaseException):
                raise child
            value = _called(child, wait.inputs) if callable(child) else child
        except Exception as exc:  # noqa: BLE001 - it is the child's error
            error = {
                "type": type(exc).__name__,
                "message": str(exc),
                "traceback": "".join(traceback.format_exception(exc)),
            }
            return WaitOutcome(status=StepStatus.ERROR, error=error, fid=fid)
        return _finished(value if wait.waits else None, fid=fid)

    def _fail(self, reason: str) -> None:
        self._failures.append(reason)
        raise AssertionError(reason)


def past_step(record: StepRecord) -> PastStep:
    """Return a record as the runner that replays it gets it."""
    return PastStep(
        key=record.key,
        name=record.name,
        kind=StepKind.STEP,
        position=record.position,
        digest=record.digest,
        status=record.status,
        attempt=record.attempt,
        failures=record.failures,
        started=record.started,
        arguments=record.arguments,
        result=record.result,
    )


def past_wait(wait: Wait | OpenLock, outcome: WaitOutcome) -> PastStep:
    """Return a wait that is over as the runner that replays it gets it."""
    return PastStep(
        key=wait.key,
        name=steps.name_of(wait.key),
        kind=_kind_of(wait),
        position=wait.position,
        digest="" if isinstance(wait, OpenLock) else wait.digest,
        status=StepStatus(outcome.status),
        attempt=1,
        failures=0,
        started=time.time(),
        arguments=wait.arguments,
        result=msgspec.json.encode(outcome),
    )


def _called(child: Callable[[Any], Any], inputs: Any) -> Any:
    """Return what a test's function makes of the inputs: it may run another flow."""

    def call() -> Any:
        value = child(inputs)
        return asyncio.run(value) if inspect.iscoroutine(value) else value

    # In a thread, because the flow's own loop may be running in this one.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


def _listed(messages: Any) -> list[Any]:
    """Return a test's messages of one name; a text or an object is one message."""
    is_text = isinstance(messages, str | bytes)
    is_list = isinstance(messages, Sequence | Iterator) and not is_text
    return list(messages) if is_list else [messages]


def _finished(value: Any, *, fid: str = "") -> WaitOutcome:
    """Return the end of a wait with a value, which a flow gets as JSON, except for its dates."""
    plain = msgspec.json.decode(line.encode_payload(value))
    return WaitOutcome(
        status=StepStatus.FINISHED, value=plain, moments=datetimes.find(value), fid=fid
    )


def _kind_of(wait: Wait | OpenLock) -> StepKind:
    match wait:
        case OpenLock():
            return StepKind.LOCK
        case Sleep():
            return StepKind.SLEEP
        case Receive():
            return StepKind.RECEIVE
        case _:
            return StepKind.CALL if wait.waits else StepKind.LAUNCH
