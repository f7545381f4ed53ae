"""What is recorded of one execution, and what goes on in it just now.

A call takes its place when it is made, and finds there what was recorded of it before. The runner
looks here to see whether an execution only waits.
"""

import asyncio
import base64
import functools
import re
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import CoroutineType
from typing import Any, NoReturn, Protocol

import msgspec

from koco.events.questions import A, LockOutcome, Question, ReadStep
from koco.events.steps import Past, PastStep, StepKind, StepStatus, lock_id
from koco.sdk.interruption import fence
from koco.sdk.steps import digests, places, previews
from koco.sdk.steps.divergence import NonDeterministic
from koco.sdk.steps.places import UNORDERED, Branch, Tree
from koco.sdk.steps.refusals import Refusals

_HINT = (
    "a resumed flow must make the same calls in the same order: put what differs from run to run "
    "(times, random numbers, what is read) into steps; after a change of the code, "
    "`koco resume FID --from STEP` runs it again from a step on"
)

_CHANGED = (
    "koco: the step {!r} has changed its arguments. When the flow is resumed, the step does not "
    "run again, and the change is missing: return what is new, and use that in the flow\n"
)

_INVALID = re.compile(r"[^A-Za-z0-9_.-]")
#: The longest name of a step (characters).
_NAME_CHARS = 100
#: Statuses of a recorded call whose outcome is used.
SETTLED = frozenset({StepStatus.FINISHED, StepStatus.ERROR, StepStatus.EXPIRED})


class Sink(Protocol):
    """What a journal needs of `koco.sdk.tracer.Sink`."""

    def record(self, fid: str, event: bytes) -> None:
        """Take a step's event without waiting."""

    def commit(self, fid: str, event: bytes) -> None:
        """Take a step's event, and block until it is committed."""

    async def commit_async(self, fid: str, event: bytes) -> None:
        """Do the same, without blocking."""

    def ask(self, fid: str, question: Question[A]) -> A:
        """Ask the control plane; block for the answer."""
        ...

    async def ask_async(self, fid: str, question: Question[A]) -> A:
        """Do the same, without blocking."""
        ...


class Call:
    """A call at its place in the flow: of a step, or a wait."""

    __slots__ = (
        "arguments",
        "branch",
        "digest",
        "digest_again",
        "journal",
        "key",
        "kind",
        "name",
        "past",
        "position",
    )

    def __init__(
        self,
        journal: "Journal",
        kind: StepKind,
        name: str,
        args: tuple[Any, ...],
        kwargs: Any,
        *,
        shown: str | None,
    ) -> None:
        self.branch = branch = journal.branch()
        self.journal = journal
        self.kind = kind
        self.name = name
        #: The call's arguments, for people.
        self.arguments = previews.of_arguments(args, kwargs) if shown is None else shown
        digest = digests.digest(args, kwargs)
        #: Makes the digest once more; None if the call cannot change its arguments.
        self.digest_again: Callable[[], str] | None = None
        if journal.durable and not digests.is_constant(args, kwargs):
            self.digest_again = functools.partial(digests.digest, args, kwargs)
        with fence.inside(), journal.gate:
            self.key = _key(branch, name, digest)
            self.digest = digest
            if branch.id != UNORDERED:
                branch.calls += 1
                # The number of the call in its branch belongs to what must be equal on replay.
                self.digest = f"{digest}.{branch.calls}"
            journal.position += 1
            self.position = journal.position
            #: What was recorded of this call before; None if nothing was.
            self.past = journal.take(self)

    def outcome(self) -> bytes | None:
        """Return the recorded outcome, encoded; None if there is none. Block if it is large."""
        if (past := self._settled) is None:
            return None
        if not past.is_apart:
            return past.result or b""
        text = self.journal.sink.ask(self.journal.fid, ReadStep(key=self.key))
        return base64.b64decode(text)

    async def outcome_async(self) -> bytes | None:
        """Do the same, without blocking."""
        if (past := self._settled) is None:
            return None
        if not past.is_apart:
            return past.result or b""
        text = await self.journal.sink.ask_async(self.journal.fid, ReadStep(key=self.key))
        return base64.b64decode(text)

    @property
    def _settled(self) -> PastStep | None:
        is_settled = self.past is not None and self.past.status in SETTLED
        return self.past if is_settled else None

    def warn_if_changed(self) -> None:
        """Say so, once for each step of the code, if the call has changed its arguments."""
        if self.digest_again is None or self.name in self.journal.warned:
            return
        if self.digest_again() != _digest(self):
            self.journal.warned.add(self.name)
            sys.stderr.write(_CHANGED.format(self.key))


def _key(branch: Branch, name: str, digest: str) -> str:
    if branch.id == UNORDERED:
        name = f"{name}.{digest[:12]}"
    key = f"{name}:{branch.count(name)}"
    return f"{branch.id}/{key}" if branch.id else key


def named(coroutine: Coroutine[Any, Any, Any], name: str) -> Coroutine[Any, Any, Any]:
    """Give a coroutine the name that Python's warning shows if nobody awaits it."""
    if isinstance(coroutine, CoroutineType):
        coroutine.__qualname__ = name
    return coroutine


def clean_name(name: str) -> str:
    """Return a function's name as the name of a step."""
    return _INVALID.sub("_", name)[:_NAME_CHARS] or "_"


class Journal(Tree):
    """The journal of one execution, in one process. Any thread of it may use it.

    Args:
        fid: the execution.
        sink: takes its records.
        past: what is recorded of it already.
        origin: the execution that it was resumed from, the first of the chain if it was several.
        durable: whether it resumes after the death of its process.
        step_bytes: the largest result of a step (bytes).
    """

    def __init__(
        self,
        fid: str,
        sink: Sink,
        past: Past | None = None,
        *,
        origin: str = "",
        durable: bool = False,
        step_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        super().__init__()
        self.fid = fid
        #: Keys of its steps are made of this one's id.
        self.origin = origin or fid
        self.sink = sink
        self.durable = durable
        self.step_bytes = step_bytes
        #: Guards places and numbers. Nothing blocks while it is held, and no thread is interrupted,
        #: because the lock would never be released.
        self.gate = threading.Lock()
        #: The number of the latest call.
        self.position = 0
        self._past: dict[str, PastStep] = {}
        #: The key of each ordered call by its branch and its number there.
        self._orders: dict[tuple[str, str], str] = {}
        self._locks: dict[str, bytes] = {}
        if past is not None:
            self.load(past)
        #: The keys of the steps that are running, of pending waits, and pending locks by their id.
        self.running: dict[str, str] = {}
        self.waits: dict[str, str] = {}
        self.locks: dict[str, str] = {}
        #: The asyncio tasks and the numbers of the threads that are inside a wait or a lock.
        self.waiters: set[asyncio.Task[Any] | int] = set()
        #: Since when no step and no wait has begun or ended (`time.monotonic`).
        self.idle_since = time.monotonic()
        #: Called, in any thread, when the execution has begun to only wait.
        self.on_idle: Callable[[], object] | None = None
        #: Whether a step pauses between its attempts. In a test, it does not.
        self.pauses = True
        #: Why the execution has failed although its flow goes on.
        self.failure: NonDeterministic | None = None
        #: The names of the steps that are known to change their arguments.
        self.warned: set[str] = set()
        #: The calls that are refused once it is closed.
        self.refusals = Refusals()
        self._closed: BaseException | None = None
        #: Whether the flow has ended. What it leaves behind is cancelled, but was not given up.
        self.is_over = False

    @property
    def is_idle(self) -> bool:
        """Whether no step runs, and something is waited for."""
        return not self.running and bool(self.waits or self.locks)

    @property
    def is_closed(self) -> bool:
        """Whether every further call raises an exception."""
        return self._closed is not None

    def enter(self) -> None:
        """Make this context the main branch of the execution."""
        places.here.set(self.main)

    def load(self, past: Past) -> None:
        """Take what is recorded of the execution already, before its flow begins."""
        self._past = {each.key: each for each in past.steps}
        self._orders = {order: each.key for each in past.steps if (order := _order(each))}
        self._locks = {each.lid: each.outcome for each in past.locks}

    def close(self, exc: BaseException) -> None:
        """Make every further call raise an exception: the execution goes on elsewhere."""
        self._closed = exc

    def leave(self) -> None:
        """Called when the flow has ended, before the tasks that it leaves behind are cancelled."""
        self.is_over = True

    def let_go(self) -> None:
        """Forget what refers to this journal, because nothing is recorded any more."""
        super().let_go()
        self.refusals.on_stuck = None

    def check(self) -> None:
        """Raise the exception with which the journal was closed, if it was."""
        if self._closed is not None:
            if self._closed is self.failure:
                raise self.failure
            raise type(self._closed)(*self._closed.args)

    async def refuse_async(self) -> Any:
        """Raise the exception with which the journal was closed, in the caller's task."""
        await self.refusals.note_async()
        self.check()

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            self.refusals.note()
            self.check()

    def branch(self) -> Branch:
        """Return the branch in which a call is made just now."""
        branch = places.here.get()
        if branch is None or branch.tree is not self:
            branch = self.main
        if branch.attempt is not None or places.is_ordered(branch):
            return branch
        return self.unordered

    def place(
        self,
        kind: StepKind,
        name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        shown: str | None = None,
    ) -> Call:
        """Return a call with its place, which is taken now.

        `args` and `kwargs` must be equal when the flow runs again. `shown` are its arguments for
        people, if those are others.

        Raises:
            NonDeterministic: something else is recorded at this place.
            BaseException: the journal is closed.
        """
        self._refuse_if_closed()
        return Call(self, kind, name, args, kwargs or {}, shown=shown)

    def lock_place(self, name: str, data: Any) -> tuple[str, str, int]:
        """Return the key and the id of a lock that is opened now, and the number of the call.

        They are empty inside a step, which has no place of its own.
        """
        self._refuse_if_closed()
        branch = self.branch()
        if branch.attempt is not None:
            return "", "", 0
        name = f"lock.{name}"
        digest = digests.digest((data,), {}) if branch.id == UNORDERED else ""
        with fence.inside(), self.gate:
            key = _key(branch, name, digest)
            self.position += 1
            position = self.position
        lid = lock_id(self.fid, key)
        return key, lid, position

    def settled_lock(self, lid: str) -> LockOutcome | None:
        """Return how a lock ended before, if it did."""
        outcome = self._locks.pop(lid, None)
        return None if outcome is None else msgspec.json.decode(outcome, type=LockOutcome)

    # steps and waits that are open

    def admit(self, call: Call) -> None:
        """Called before a step that has no outcome runs: a test may hold it there."""

    async def admit_async(self, call: Call) -> None:
        """Do the same, without blocking."""

    @contextmanager
    def step(self, call: Call) -> Iterator[None]:
        """Count a step as running."""
        self.idle_since = time.monotonic()
        self.running[call.key] = call.name
        try:
            yield
        finally:
            self.running.pop(call.key, None)
            self._note()

    @contextmanager
    def wait(self, pending: dict[str, str], key: str, name: str) -> Iterator[None]:
        """Count a wait as pending, in `waits` or `locks`, and the caller as a waiter."""
        me = places.task_here() or get_ident()
        self.waiters.add(me)
        pending[key] = name
        self._note()
        try:
            yield
        finally:
            pending.pop(key, None)
            self.waiters.discard(me)
            self._note()

    def _note(self) -> None:
        self.idle_since = time.monotonic()
        if self.on_idle is not None and self.is_idle and not self.is_closed:
            self.on_idle()

    # replay

    def take(self, call: Call) -> PastStep | None:
        """Return what is recorded of a call. Called with the gate held."""
        if not self._past:
            return None
        past = self._past.get(call.key)
        order = _order(call)
        key_there = self._orders.get(order) if order else None
        if key_there is not None and key_there != call.key:
            self._fail(
                f"the flow calls {_shown(call)} where it called {_shown(self._past[key_there])} "
                "before"
            )
        if past is None:
            return None
        if past.kind != call.kind or past.name != call.name:
            self._fail(f"{call.key!r} is a {call.kind} now, and was a {past.kind}")
        if _digest(past) != _digest(call):
            self._fail(
                f"the flow calls {_shown(call)}, and called {_shown(past)} before: "
                "with other arguments"
            )
        if past.digest != call.digest:
            self._fail(
                f"the flow calls {_shown(call)} as call {_number(call)} of its branch, and "
                f"called it as call {_number(past)} before"
            )
        del self._past[call.key]
        if order:
            self._orders.pop(order, None)
        call.position = past.position
        self.position = max(self.position, past.position)
        return past

    def fail_to_read(self, call: Call, exc: Exception) -> NoReturn:
        """End the execution because the recorded outcome of a call cannot be read any more."""
        self._fail(
            f"the recorded outcome of {call.key!r} cannot be read: {type(exc).__name__}: {exc}",
            hint="results are kept with the names of their classes and modules: keep these where "
            f"they were, or run the step again with `koco resume FID --from {call.key}`",
        )

    def _fail(self, message: str, hint: str = _HINT) -> NoReturn:
        self.failure = NonDeterministic(message, hint=hint)
        self._closed = self.failure
        raise self.failure


def journal_here() -> Journal | None:
    """Return the journal in which a call of a step is recorded; None outside of executions.

    None inside of steps, too: what they call is part of them.
    """
    branch = places.here.get()
    if branch is None or branch.attempt is not None:
        return None
    journal = branch.tree
    assert isinstance(journal, Journal)
    return journal


def _digest(call: Call | PastStep) -> str:
    """Return the digest of a call's arguments, without its number."""
    return call.digest.partition(".")[0]


def _order(call: Call | PastStep) -> tuple[str, str] | None:
    """Return the branch of a call and its number there; None if it has no order."""
    number = call.digest.partition(".")[2]
    return (call.key.rpartition("/")[0], number) if number else None


def _number(call: Call | PastStep) -> str:
    return call.digest.partition(".")[2] or "?"


def _shown(call: Call | PastStep) -> str:
    return f"{call.key}({call.arguments})"
