"""Waits that outlive a process: for a time, a message, another execution."""

import asyncio
import datetime as dt
import math
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec

from koco.errors import FlowError, UsageError
from koco.events import datetimes, line
from koco.events.questions import (
    LONGEST_WAIT_S,
    CallFlow,
    Question,
    Receive,
    Sleep,
    WaitOutcome,
    WithdrawWait,
)
from koco.events.steps import StepKind, StepStatus
from koco.manifest.rules import LOCK_NAME
from koco.sdk.steps import previews
from koco.sdk.steps.background import ask_in_background
from koco.sdk.steps.exceptions import RecordedTraceback
from koco.sdk.steps.journal import Call, Journal, clean_name, named

#: Whole numbers of more bits are not shown in errors.
_SHOWN_BITS = 256
#: The longest idempotency key, as for launches from outside.
KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Wait:
    """What a flow waits for: its question, apart from its place."""

    kind: StepKind
    name: str
    #: Makes the question, from the fields that all waits have.
    question: Callable[..., Question[WaitOutcome]]
    #: What it is about, for errors: a message's name, a flow.
    subject: str = ""
    #: The arguments that must be equal when the flow runs again, and those that people see.
    counted: tuple[Any, ...] = ()
    shown: dict[str, Any] = field(default_factory=dict)


def sleep(seconds: Any) -> Wait:
    """Return the wait for a number of seconds."""
    _check_seconds(seconds, "tracer.sleep takes a number of seconds")

    # How long is not compared: it may well be computed from a time.
    def question(**place: Any) -> Sleep:
        return Sleep(**place, seconds=float(seconds))

    return Wait(StepKind.SLEEP, "sleep", question, shown={"seconds": seconds})


def sleep_until(moment: Any) -> Wait:
    """Return the wait for a time."""
    if not isinstance(moment, dt.datetime) or moment.tzinfo is None:
        raise UsageError(
            f"tracer.sleep_until takes a datetime with a time zone, got {moment!r}",
            hint="for example datetime.now(timezone.utc) + timedelta(days=1)",
        )
    until = max(0.0, _timestamp(moment))
    if until > time.time() + LONGEST_WAIT_S:
        raise UsageError(f"tracer.sleep_until waits ten years at most, got {moment}")

    def question(**place: Any) -> Sleep:
        return Sleep(**place, until=until)

    return Wait(StepKind.SLEEP, "sleep", question, shown={"until": moment})


def _timestamp(moment: dt.datetime) -> float:
    try:
        return moment.timestamp()
    except OverflowError:  # its time zone takes it before the first year, or behind the last
        return math.inf if moment.year > 1 else 0.0


def receive(name: Any, timeout: Any) -> Wait:
    """Return the wait for a message."""
    if not isinstance(name, str) or not re.fullmatch(LOCK_NAME[1:-1], name):
        raise UsageError(
            f"{name!r} cannot name a message: letters, digits, '_', '.' and '-', at most 63"
        )
    if timeout is not None:
        _check_seconds(timeout, "the timeout of tracer.receive is a number of seconds")
        timeout = float(timeout)

    def question(**place: Any) -> Receive:
        return Receive(**place, name=name, timeout_s=timeout)

    shown = {} if timeout is None else {"timeout": timeout}
    return Wait(StepKind.RECEIVE, f"receive.{name}", question, name, shown=shown)


def call(flow: Any, inputs: Any, key: str | None, *, waits: bool) -> Wait:
    """Return the wait for another execution, or the order to launch one."""
    if not isinstance(flow, str) or not flow:
        raise UsageError(f"the flow to call must be named as 'service/flow', got {flow!r}")
    if inputs is not None and not isinstance(inputs, dict):
        raise UsageError(f"the inputs of {flow!r} must be a dict, got {type(inputs).__name__}")
    if key is not None and not _is_key(key):
        raise UsageError(
            f"the key of a call of {flow!r} must be a text of 1 to {KEY_LENGTH} printable ASCII"
            f" characters, got {key!r:.300}"
        )
    plain = msgspec.json.decode(line.encode_payload(inputs or {}))

    def question(**place: Any) -> CallFlow:
        return CallFlow(**place, flow=flow, inputs=plain, launch_key=key, waits=waits)

    kind = StepKind.CALL if waits else StepKind.LAUNCH
    counted = (flow, inputs or {}, key)
    return Wait(
        kind, clean_name(f"{kind}.{flow.replace('/', '.')}"), question, flow, counted, inputs or {}
    )


def _is_key(key: object) -> bool:
    if not isinstance(key, str) or not 1 <= len(key) <= KEY_LENGTH:
        return False
    return key.isascii() and key.isprintable()


def _check_seconds(seconds: Any, what: str) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= LONGEST_WAIT_S:
        # Python does not show all the digits of a huge number.
        is_huge = isinstance(seconds, int) and seconds.bit_length() > _SHOWN_BITS
        got = "a larger one" if is_huge else repr(seconds)
        raise UsageError(f"{what} from 0 to {LONGEST_WAIT_S:.0f} (ten years), got {got}")


def start(journal: Journal | None, wait: Wait) -> Coroutine[Any, Any, Any]:
    """Take the wait's place now; return a coroutine that waits and returns the value."""
    if journal is not None and journal.is_closed:
        return journal.refuse_async()
    call = _place(journal, wait)
    return named(_run(call, wait), f"tracer.{wait.kind}")


async def _run(call: Call, wait: Wait) -> Any:
    journal = call.journal
    if (result := await call.outcome_async()) is not None:
        return _value(wait, _decode(result))
    if wait.kind is StepKind.LAUNCH:
        with journal.step(call):
            return _value(wait, await journal.sink.ask_async(journal.fid, _question(call, wait)))
    if call.past is not None and call.past.status is StepStatus.WITHDRAWN:
        await give_up(journal)
    with journal.wait(journal.waits, call.key, call.name):
        try:
            outcome = await journal.sink.ask_async(journal.fid, _question(call, wait))
        except asyncio.CancelledError:
            # The flow gave up (with `asyncio.wait_for`, for example). If it is parked, it did not,
            # nor if it has ended: its next attempt finds the other execution again.
            is_left = journal.is_over and wait.kind is StepKind.CALL
            if not (journal.is_closed or is_left):
                question = WithdrawWait(key=call.key)
                ask_in_background(journal.sink.ask_async(journal.fid, question))
            raise
    return _value(wait, outcome)


def block(journal: Journal | None, wait: Wait) -> Any:
    """Block until the wait is over; return the value."""
    call = _place(journal, wait)
    journal = call.journal
    if (result := call.outcome()) is not None:
        return _value(wait, _decode(result))
    if wait.kind is StepKind.LAUNCH:
        with journal.step(call):
            return _value(wait, journal.sink.ask(journal.fid, _question(call, wait)))
    with journal.wait(journal.waits, call.key, call.name):
        outcome = journal.sink.ask(journal.fid, _question(call, wait))
    return _value(wait, outcome)


async def give_up(journal: Journal) -> None:
    """Wait until the flow gives up a wait again, which it gave up before.

    Never returns: the flow's own code cancels the caller.
    """
    with journal.wait({}, "", ""):
        await asyncio.get_running_loop().create_future()


def _place(journal: Journal | None, wait: Wait) -> Call:
    what = f"tracer.{wait.name.partition('.')[0]}"
    if journal is None:
        raise UsageError(
            f"{what} works only in the flow's own process, not in a Ray task",
            hint="call it in the flow's body, or use asyncio.sleep and time.sleep in the task",
        )
    if (attempt := journal.branch().attempt) is not None and not journal.is_closed:
        raise UsageError(
            f"{what} was called inside the step {attempt.name!r}, which would wait all the time",
            hint="call it in the flow's body",
        )
    shown = previews.of_arguments((), wait.shown)
    return journal.place(wait.kind, wait.name, wait.counted, shown=shown)


def _question(call: Call, wait: Wait) -> Question[WaitOutcome]:
    return wait.question(
        key=call.key,
        position=call.position,
        digest=call.digest,
        arguments=call.arguments,
    )


def _decode(result: bytes) -> WaitOutcome:
    return msgspec.json.decode(result, type=WaitOutcome)


def _value(wait: Wait, outcome: WaitOutcome) -> Any:
    """Return what a wait has brought, or raise its error."""
    if outcome.status == StepStatus.EXPIRED:
        raise TimeoutError(f"no message {wait.subject!r} arrived in time")
    if outcome.status == StepStatus.ERROR:
        raise _error(wait, outcome)
    if wait.kind is StepKind.LAUNCH:
        return outcome.fid
    return datetimes.restore(outcome.value, outcome.moments)


def _error(wait: Wait, outcome: WaitOutcome) -> FlowError:
    error = outcome.error or {}
    kind, reason = str(error.get("type") or ""), str(error.get("message") or "")
    told = ": ".join(each for each in (kind, reason) if each) or "it was cancelled"
    what = f"({outcome.fid}) failed" if outcome.fid else "could not be launched"
    failed = FlowError(f"{wait.subject} {what}: {told}", hint=error.get("hint"))
    failed.fid, failed.type, failed.reason = outcome.fid, kind, reason
    failed.traceback = str(error.get("traceback") or "")
    if failed.traceback:
        failed.__cause__ = RecordedTraceback(failed.traceback)
    return failed
