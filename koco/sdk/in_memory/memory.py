"""What is stored of one execution in a test. It outlives the crashes of its process."""

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from koco.events import line
from koco.events.model import Kind
from koco.events.questions import (
    AccessFiles,
    CallFlow,
    FileAccess,
    LockOutcome,
    OpenLock,
    Question,
    Receive,
    Sleep,
    WaitForLock,
    WithdrawLock,
    WithdrawWait,
)
from koco.events.steps import StepRecord, split_line
from koco.sdk.in_memory.answers import Answering, Answers, Lease
from koco.sdk.in_memory.records import Records


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a follower sees it: `payload` is plain JSON data."""

    seq: int
    ts: str
    kind: str
    payload: Any


class Memory:
    """The events and records of an execution, and the test's answers to its questions."""

    def __init__(
        self,
        *,
        answers: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None,
        children: Mapping[str, Any] | None = None,
        lease: Lease = lambda lock, answer: None,
        fid: str | None = None,
        answering: Answering | None = None,
        by: str = "test",
    ) -> None:
        """Take the test's answers; or `answering`, which answers a lock, and whose name is `by`."""
        #: Each test has its own by default, because services outside know a step by it.
        self.fid = fid or secrets.token_hex(8)
        #: The events, and their lines as a runner sends them.
        self.events: list[Event] = []
        self.lines: list[bytes] = []
        #: Reasons why the test fails, even if its flow catches the error.
        self.failures: list[str] = []
        self.records = Records(messages or {}, children or {}, self.failures, self.note)
        self._answer = answering or Answers(answers or {}, lease, self.failures).answer
        self._by = by
        self._lock = threading.Lock()
        self._open: dict[str, OpenLock] = {}
        #: The test's exceptions in place of answers, by the lock's id.
        self._refused: dict[str, BaseException] = {}

    def put(self, event: bytes) -> None:
        """Store an event."""
        with self._lock:
            self.lines.append(event)
            shown = line.decode(len(self.events) + 1, event)
            self.events.append(Event(shown["seq"], shown["ts"], shown["kind"], shown["payload"]))

    def note(self, kind: Kind, payload: Any) -> None:
        """Write an event as koco itself writes it."""
        self.put(line.encode(kind, payload))

    def keep(self, event: bytes) -> StepRecord | None:
        """Store a step's event and its record; return that."""
        event, record = split_line(event)
        if record is not None:
            self.records.keep(record)
        self.put(event)
        return record

    def ask(self, question: Question[Any]) -> Any:
        """Answer a question as the control plane does, but at once."""
        match question:
            case AccessFiles():
                return FileAccess(url="", token="")  # no access is needed: see `place`
            case OpenLock():
                self._open_lock(question)
            case WaitForLock():
                return self._answer_lock(self._open[question.lid])
            case Sleep() | Receive() | CallFlow():
                return self.records.settle(question)
            case WithdrawLock() | WithdrawWait():
                pass  # a flow that gives up a lock ignores its answer
            case _:
                raise TypeError(f"a test cannot answer {question.NAME!r}")
        return None

    def settled_by(self, question: Question[Any]) -> str:
        """Return the key of the wait or the lock that a question has settled; empty if none."""
        match question:
            case Sleep() | Receive() | CallFlow() if question.key in self.records.entries:
                return question.key
            case WaitForLock() if (settled := self.records.locks.get(question.lid)) is not None:
                return settled.key
        return ""

    def _open_lock(self, lock: OpenLock) -> None:
        if lock.lid in self._open:
            return  # the flow asks again, after a crash
        self._open[lock.lid] = lock
        expires = line.timestamp(time.time() + lock.timeout_s)
        shown = {"lid": lock.lid, "name": lock.name, "data": lock.data, "expires": expires}
        self.note(Kind.LOCK, shown)

    def _answer_lock(self, lock: OpenLock) -> LockOutcome:
        """Answer a lock as a person would; raise the test's exception if it has one."""
        if (known := self.records.locks.get(lock.lid)) is None:
            outcome = self._answer(lock)
            named = {"lid": lock.lid, "name": lock.name}
            if isinstance(outcome, BaseException):
                self._refused[lock.lid] = outcome
                outcome = LockOutcome(status="expired")
                self.note(Kind.LEASE, {**named, "outcome": "expired"})
            else:
                answered = {"outcome": "answered", "answer": outcome.answer, "by": self._by}
                self.note(Kind.LEASE, {**named, **answered})
            known = self.records.settle_lock(lock, outcome)
        if (refused := self._refused.get(lock.lid)) is not None:
            raise refused
        return known.outcome
