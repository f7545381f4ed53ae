"""The part of a flow's tracer that is about steps and waits."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from koco.errors import UsageError
from koco.sdk.steps import decorator, places, waits
from koco.sdk.steps.attempts import in_thread
from koco.sdk.steps.journal import Journal


class NoStepError(UsageError, AttributeError):
    """The attribute is only there while a step runs.

    It is an `AttributeError`, so that code that reads all attributes of an object (Ray's and
    debuggers') leaves this one out.
    """


class Steps:
    """Methods that record what they return: see `koco.step` for what that means.

    Each takes its place in the flow when it is called, even if it is awaited later.
    """

    __slots__ = ()

    fid: str
    _journal: Journal | None

    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """Call a function as a step, and return its outcome, which is recorded before.

        A plain function runs in a thread of its own. A function that `koco.step` has decorated
        keeps its options.

        Raises:
            UsageError: the name or the function is invalid, or this is a Ray task.
            StepResultError: the outcome cannot be kept.
        """
        target = decorator.describe(function, name)
        journal = self._own_journal("tracer.step")
        if journal.branch().attempt is not None and not journal.is_closed:
            return _call_plainly(target, args, kwargs)
        if not target.is_async:
            return target.call_in_thread(journal, args, kwargs)
        coroutine: Coroutine[Any, Any, Any] = target.call(journal, args, kwargs)
        return coroutine

    def step_sync(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a plain function as a step in the calling thread; see `step`."""
        target = decorator.describe(function, name)
        if target.is_async:
            raise UsageError(
                f"tracer.step_sync cannot call {target.name}, which is an async def",
                hint="await tracer.step(…) calls it",
            )
        journal = self._own_journal("tracer.step_sync")
        if journal.branch().attempt is not None and not journal.is_closed:
            return target.function(*args, **kwargs)
        return target.call(journal, args, kwargs)

    @property
    def step_key(self) -> str:
        """An id of the running step, which is the same when the step runs again.

        An effect that is given this id can be recognised if it is repeated: a payment, a mail. It
        is also the same in an execution that `koco resume` has made of this one, because that goes
        on with the same order. One that `koco retry` has made has others.

        Raises:
            UsageError: no step is running.
        """
        if (attempt := places.attempt_here()) is None:
            raise NoStepError(
                "tracer.step_key is the id of a running step, and none is running here",
                hint="use it inside a function that is decorated with @koco.step",
            )
        origin = self.fid if self._journal is None else self._journal.origin
        return f"{origin}/{attempt.key}"

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait for a number of seconds, by the control plane's clock and across restarts."""
        return waits.start(self._journal, waits.sleep(seconds))

    def sleep_sync(self, seconds: float) -> None:
        """Block for a number of seconds; see `sleep`."""
        waits.block(self._journal, waits.sleep(seconds))

    def sleep_until(self, moment: datetime) -> Coroutine[Any, Any, None]:
        """Wait until a time, which must have a time zone; see `sleep`."""
        return waits.start(self._journal, waits.sleep_until(moment))

    def sleep_until_sync(self, moment: datetime) -> None:
        """Block until a time; see `sleep_until`."""
        waits.block(self._journal, waits.sleep_until(moment))

    def receive(self, name: str, timeout: float | None = None) -> Coroutine[Any, Any, Any]:
        """Wait for the next message of a name (`koco send`), and return its data.

        Args:
            name: the messages' name.
            timeout: how long to wait at most (seconds); without end by default.

        Raises:
            TimeoutError: none arrived in time.
            UsageError: the name or the timeout is invalid.
        """
        return waits.start(self._journal, waits.receive(name, timeout))

    def receive_sync(self, name: str, timeout: float | None = None) -> Any:
        """Block until the next message of a name arrives; see `receive`."""
        return waits.block(self._journal, waits.receive(name, timeout))

    def call(
        self, flow: str, inputs: dict[str, Any] | None = None, *, key: str | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Launch an execution of a flow (`service/flow`), wait for its end, return its result.

        Args:
            flow: the flow.
            inputs: its inputs.
            key: an idempotency key: an execution that was launched with it before is taken instead.

        Raises:
            FlowError: the other execution failed, was cancelled or could not be launched.
            UsageError: the inputs or the key are invalid.
        """
        return waits.start(self._journal, waits.call(flow, inputs, key, waits=True))

    def call_sync(
        self, flow: str, inputs: dict[str, Any] | None = None, *, key: str | None = None
    ) -> Any:
        """Launch an execution of a flow, and block until its end; see `call`."""
        return waits.block(self._journal, waits.call(flow, inputs, key, waits=True))

    def launch(
        self, flow: str, inputs: dict[str, Any] | None = None, *, key: str | None = None
    ) -> Coroutine[Any, Any, str]:
        """Launch an execution of a flow without waiting for its end; return its id. See `call`."""
        return waits.start(self._journal, waits.call(flow, inputs, key, waits=False))

    def launch_sync(
        self, flow: str, inputs: dict[str, Any] | None = None, *, key: str | None = None
    ) -> str:
        """Launch an execution of a flow; return its id. See `call`."""
        fid: str = waits.block(self._journal, waits.call(flow, inputs, key, waits=False))
        return fid

    def _own_journal(self, what: str) -> Journal:
        if self._journal is None:
            raise UsageError(
                f"{what} works only in the flow's own process, not in a Ray task",
                hint="make the call that starts the task the step",
            )
        return self._journal


async def _call_plainly(
    target: decorator.Target, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a function that is part of another step."""
    if target.is_async:
        return await target.function(*args, **kwargs)
    return await in_thread(lambda: target.function(*args, **kwargs), target.name)
