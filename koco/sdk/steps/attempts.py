"""Run a step: its attempts, until one of them ends with the outcome that is recorded."""

import asyncio
import contextlib
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from koco.errors import StepResultError
from koco.events.steps import StepRecord, StepStatus, encode_line
from koco.sdk.steps import outcomes, places, previews, threads
from koco.sdk.steps.journal import Call, named
from koco.sdk.steps.places import Attempt
from koco.sdk.steps.running import reporter
from koco.sizes import format_size

#: The longest pause between two attempts (seconds).
LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is run: see `koco.step`."""

    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None


#: A result, or None and an exception.
_Outcome = tuple[Any, BaseException | None]


class _Step:
    """A step that runs: the number of its attempt, and how that ended."""

    __slots__ = (
        "attempt", "call", "error", "failures", "options", "pause_s", "since", "started", "value"
    )  # fmt: skip

    def __init__(self, call: Call, options: Options) -> None:
        past = call.past
        self.call = call
        self.options = options
        self.attempt = past.attempt if past else 0
        self.failures = past.failures if past else 0
        self.started = past.started if past else time.time()
        # Across processes, so that its beginning and its duration give its end.
        self.since = time.monotonic() - max(0.0, time.time() - self.started)
        self.value: Any = None
        self.error: BaseException | None = None
        #: How long to wait until the next attempt (seconds); None if there is none.
        self.pause_s: float | None = None

    def settle(self, value: Any, error: BaseException | None) -> bytes:
        """Take how an attempt ended; return the line to commit before the flow goes on."""
        self.value, self.error, self.pause_s = value, error, None
        result: bytes | None = None
        if error is None:
            try:
                # The flow gets the same as when it runs again.
                result, self.value = outcomes.encode_value(value, step=self.call.key)
                self._limited(result)
            except StepResultError as exc:
                self.error = exc
        if self.error is None:
            return self._line(StepStatus.FINISHED, previews.of_value(value), result)
        self.failures += 1
        if self.failures <= self.options.retries and not isinstance(self.error, StepResultError):
            pause_s = self.options.backoff_s * 2.0 ** min(self.failures - 1, 60)
            self.pause_s = min(pause_s, LONGEST_PAUSE_S)
            return self._line(StepStatus.RETRYING, previews.of_error(self.error), None)
        try:
            result = self._limited(outcomes.encode_error(self.error, step=self.call.key))
        except StepResultError as exc:
            self.error = exc
            result = outcomes.encode_error(exc, step=self.call.key)
        line = self._line(StepStatus.ERROR, previews.of_error(self.error), result)
        self.error = outcomes.decode(result)[1]
        return line

    def report(self) -> None:
        """Record that the attempt is running."""
        self.call.journal.sink.record(
            self.call.journal.fid, self._line(StepStatus.RUNNING, "", None)
        )

    def out_of_time(self, *, is_blocked: bool = False) -> TimeoutError:
        """Return the error of an attempt that took too long."""
        text = f"step {self.call.name!r} took longer than {self.options.timeout_s:g} s"
        if is_blocked:
            text += (
                ", and could not be cancelled in time, because something blocked the event loop: "
                "a step that blocks must be a `def`"
            )
        return TimeoutError(text)

    def _limited(self, result: bytes) -> bytes:
        if len(result) > (most := self.call.journal.step_bytes):
            raise StepResultError(
                f"the outcome of the step {self.call.key!r} has {format_size(len(result))}, "
                f"more than the {format_size(most)} that are kept",
                hint="write large data to a file (tracer.fs) and return its path, or raise the "
                "setting max_step_mb",
            )
        return result

    def _line(self, status: StepStatus, preview: str, result: bytes | None) -> bytes:
        call = self.call
        record = StepRecord(
            key=call.key,
            name=call.name,
            position=call.position,
            digest=call.digest,
            status=status,
            attempt=self.attempt,
            failures=self.failures,
            started=self.started,
            duration_s=None if status is StepStatus.RUNNING else time.monotonic() - self.since,
            arguments=call.arguments,
            preview=preview,
            result=result,
            size_bytes=0 if result is None else len(result),
        )
        return encode_line(record, error=preview if self.error is not None else "")


class _Entered:
    """The context of one attempt: what its code calls belongs to the step."""

    __slots__ = ("_report", "_step", "_token", "attempt")

    def __init__(self, step: _Step) -> None:
        self._step = step
        self.attempt = Attempt(step.call.key, step.call.name)

    def __enter__(self) -> Attempt:
        step = self._step
        step.attempt += 1
        self._token = places.here.set(step.call.branch.inside(self.attempt))
        self._report = reporter().add(step.report)
        return self.attempt

    def __exit__(self, *_: object) -> None:
        reporter().end(self._report)
        self._step.call.warn_if_changed()
        # A coroutine that is closed ends in another context.
        with contextlib.suppress(ValueError):
            places.here.reset(self._token)


def run_async(
    call: Call, function: Callable[[], Awaitable[Any]], options: Options
) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that returns a step's outcome: the recorded one, or the function's."""
    return named(_run_async(call, function, options), call.name)


async def _run_async(call: Call, function: Callable[[], Awaitable[Any]], options: Options) -> Any:
    return _give(*await _outcome_async(call, function, options))


async def _outcome_async(
    call: Call, function: Callable[[], Awaitable[Any]], options: Options
) -> _Outcome:
    journal = call.journal
    if (result := await call.outcome_async()) is not None:
        return _recorded(call, result)
    await journal.admit_async(call)
    step = _Step(call, options)
    with journal.step(call):
        while True:
            value, error = await _attempt_async(step, function)
            await journal.sink.commit_async(journal.fid, step.settle(value, error))
            if step.pause_s is None:
                return step.value, step.error
            await asyncio.sleep(step.pause_s if journal.pauses else 0)
            journal.check()


def run_sync(call: Call, function: Callable[[], Any], options: Options) -> Any:
    """Return the outcome of a plain function's step, which runs in the calling thread."""
    return _give(*_outcome_sync(call, function, options))


def _outcome_sync(call: Call, function: Callable[[], Any], options: Options) -> _Outcome:
    journal = call.journal
    if (result := call.outcome()) is not None:
        return _recorded(call, result)
    journal.admit(call)
    step = _Step(call, options)
    with journal.step(call):
        while True:
            value, error = _attempt_sync(step, function)
            journal.sink.commit(journal.fid, step.settle(value, error))
            if step.pause_s is None:
                return step.value, step.error
            if journal.pauses:
                threads.pause(step.pause_s)
            journal.check()


def _recorded(call: Call, result: bytes) -> _Outcome:
    try:
        return outcomes.decode(result)
    except Exception as exc:  # noqa: BLE001 - unpickling runs a user's code
        call.journal.fail_to_read(call, exc)


def _give(value: Any, error: BaseException | None) -> Any:
    """Return a step's result, or raise its exception, with one traceback in every run."""
    if error is None:
        return value
    context = error.__context__
    try:
        raise error
    finally:
        # The exception that the flow handles just now has replaced it.
        error.__context__ = context
        del error, context  # the exception's frames refer to this one


async def _attempt_async(step: _Step, function: Callable[[], Awaitable[Any]]) -> _Outcome:
    with _Entered(step) as attempt:
        limit = asyncio.timeout(step.options.timeout_s) if step.options.timeout_s else None
        try:
            if limit is None:
                return await function(), None
            async with limit:
                value = await function()
            # Code that blocks the loop keeps the limit from expiring in time.
            if not _is_late(limit):
                return value, None
        except Exception as exc:  # noqa: BLE001 - it is the step's outcome
            if limit is None or not limit.expired() or not isinstance(exc, TimeoutError):
                return None, exc
            is_blocked = False
        else:
            is_blocked = True
        if attempt.end_work is not None:
            await asyncio.to_thread(attempt.end_work)
        return None, step.out_of_time(is_blocked=is_blocked)


def _is_late(limit: asyncio.Timeout) -> bool:
    return asyncio.get_running_loop().time() > (limit.when() or math.inf)


def _attempt_sync(step: _Step, function: Callable[[], Any]) -> _Outcome:
    with _Entered(step) as attempt:
        try:
            if step.options.timeout_s is None:
                return function(), None
            job = threads.Job(function, step.call.name)
            if job.run(step.options.timeout_s):
                return job.result(), None
        except Exception as exc:  # noqa: BLE001 - it is the step's outcome
            return None, exc
        if attempt.end_work is not None:
            attempt.end_work()
        return None, step.out_of_time()


async def in_thread(function: Callable[[], Any], name: str) -> Any:
    """Call a plain function in a thread of its own; await what it returns, if it is awaitable."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no caller waits
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))

    job = threads.Job(function, name, on_done=wake)
    job.start()
    try:
        await done
    except BaseException:
        job.interrupt()
        raise
    value = job.result()
    return await value if inspect.isawaitable(value) else value
