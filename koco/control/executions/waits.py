"""Waits that outlive a process: for a time, for a message, for another execution.

Waits and their outcomes are rows in the store, under the place in the flow's code that waits. A
flow waits with a request that stays pending, and repeats it if this process dies meanwhile. If the
flow leaves its runner instead, nothing of it stays here.
"""

import re
import time
from typing import Any

import msgspec

from koco.control.access import payload_checks
from koco.control.events import record_bounds
from koco.control.events.spooler import Spooler
from koco.control.executions import json_depth
from koco.control.executions.children import Children, LeftError
from koco.control.executions.waiting.alarm import Alarm
from koco.control.executions.waiting.room import when_there_is_room
from koco.control.executions.waiting.waiters import Waiters
from koco.errors import (
    ConflictError,
    EndpointError,
    InputsError,
    KocoError,
    LimitError,
    NotAllowedError,
    NotFoundError,
    UsageError,
)
from koco.events.questions import LONGEST_WAIT_S, CallFlow, Receive, Sleep, WaitOutcome
from koco.events.steps import StepKind, StepStatus, name_of
from koco.forms.off_loop import is_small, run_check
from koco.manifest.rules import LOCK_NAME
from koco.store.model import Execution, Failure, Message, NewWait
from koco.store.store import Store

#: Why a launch by an execution fails for good. The flow gets these errors on every replay, too.
_REFUSALS = (
    ConflictError,
    EndpointError,
    InputsError,
    LimitError,
    NotAllowedError,
    NotFoundError,
    UsageError,
)


class Waits:
    """Opens waits, tracks the requests that wait for them, and settles them."""

    def __init__(
        self, store: Store, spooler: Spooler, *, waiters: Waiters, children: Children
    ) -> None:
        self._store = store
        self._spooler = spooler
        self._waiters = waiters
        self._children = children
        self._alarm = Alarm("timers", self._settle_due)

    async def recover(self) -> None:
        """Settle what came due while no process ran, and set the timer for the next."""
        await self._alarm.ring()

    # calls of flows

    async def sleep(self, by: Execution, question: Sleep) -> WaitOutcome:
        """Wait for a time.

        Raises:
            UsageError: the time is invalid.
            ConflictError: the execution has ended or left its process, or it waits for something
                else under this key.
        """
        until = question.until
        if until is None:
            until = time.time() + _checked(question.seconds)
        elif not 0 <= until <= time.time() + LONGEST_WAIT_S:
            raise UsageError(
                f"an execution sleeps until a time since 1970 and within ten years, got {until!r}"
            )
        return await self._until_over(by, _new(question, StepKind.SLEEP, due=until))

    async def receive(self, by: Execution, question: Receive) -> WaitOutcome:
        """Wait for the next message of a name. Raises as `sleep` does."""
        _check_name(question.name)
        timeout_s = question.timeout_s
        due = None if timeout_s is None else time.time() + _checked(timeout_s)
        new = _new(question, StepKind.RECEIVE, due=due, message=question.name)
        return await self._until_over(by, new)

    async def call(self, by: Execution, question: CallFlow) -> WaitOutcome:
        """Launch another execution and, if the question says so, wait for its end.

        A launch that is refused is an outcome, too: the flow gets the error again on each replay.

        Raises:
            ConflictError: see `sleep`.
        """
        new = _new(question, StepKind.CALL if question.waits else StepKind.LAUNCH)
        if not await self._is_known(by, question.key):
            try:
                child = await self._children.launch(by, question)
            except LeftError:
                raise  # another process of the execution may be asking the same
            except _REFUSALS as exc:
                error = Failure(type=type(exc).__name__, message=_in_full(exc))
                new = msgspec.structs.replace(new, failure=error)
            else:
                new = msgspec.structs.replace(new, child=child.fid)
        return await self._until_over(by, new)

    async def withdraw(self, fid: str, key: str) -> None:
        """Called when a flow stops waiting."""
        await self._store.steps.withdraw(fid, key)
        self._spooler.wake(fid)

    async def _is_known(self, execution: Execution, key: str) -> bool:
        """Whether a call was asked for before, so that its execution is known."""
        try:
            step = await self._store.steps.get(execution.id, key)
        except NotFoundError:
            return False
        return step.status is not StepStatus.WITHDRAWN

    async def _until_over(self, execution: Execution, new: NewWait) -> WaitOutcome:
        """Open a wait, or find it open, and wait until it is over."""
        fid = execution.fid
        with self._waiters.waiting(fid, new.key) as waiter:
            await when_there_is_room(
                self._store, fid, lambda: self._store.steps.open_wait(fid, new)
            )
            self._spooler.wake(fid)
            self._alarm.set(new.due)
            while (outcome := await self._store.steps.outcome(execution.id, new.key)) is None:
                await waiter.until_woken()
        if outcome.status == StepStatus.WITHDRAWN:
            raise ConflictError(f"the flow has stopped waiting for {new.key}, or has ended")
        return outcome

    # calls of people

    async def send(
        self, execution: Execution, name: str, data: Any, *, by: str, key: str | None = None
    ) -> Message:
        """Send a message to an execution, which gets the messages of a name in order, each once.

        A repeated call with the same idempotency key sends nothing.

        Raises:
            UsageError: the name is invalid, or the data is nested too deeply or has a key of koco.
            ConflictError: the execution has ended.
        """
        _check_name(name)
        await run_check(lambda: _check(data), is_quick=is_small(data))
        message = await self._store.steps.send(execution.fid, name, data, by=by, key=key)
        self._spooler.wake(execution.fid)
        return message

    # time

    async def _settle_due(self) -> float | None:
        await self._store.steps.expire(time.time())
        return await self._store.steps.next_due()


def _new(
    question: Sleep | Receive | CallFlow,
    kind: StepKind,
    *,
    due: float | None = None,
    message: str | None = None,
) -> NewWait:
    record_bounds.require_place(question)
    return NewWait(
        key=question.key,
        name=name_of(question.key),
        kind=kind,
        position=question.position,
        digest=question.digest,
        arguments=question.arguments,
        due=due,
        message=message,
    )


def _checked(seconds: float | None) -> float:
    if seconds is None or not 0 <= seconds <= LONGEST_WAIT_S:
        raise UsageError(
            f"a wait must be from 0 to {LONGEST_WAIT_S:.0f} seconds (ten years), got {seconds!r}",
            hint="a timeout of None means: without end",
        )
    return seconds


def _check_name(name: str) -> None:
    if not re.fullmatch(LOCK_NAME[1:-1], name):
        raise UsageError(
            f"{name[:80]!r} cannot name a message: letters, digits, '_', '.' and '-', at most 63"
        )


def _check(data: Any) -> None:
    json_depth.check(data, "the message's values")
    payload_checks.refuse(data, "the message's values")


def _in_full(error: KocoError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
