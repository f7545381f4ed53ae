"""Run one entrypoint, on the loop or in a thread: cancel it, and report its outcome."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from time import thread_time  # the function itself: flows may replace that of the module
from typing import Any

from koco.events.model import Kind, Status
from koco.forms import Model
from koco.runner.generators import Rest, Stepped, drive, drive_async, rest_of
from koco.runner.output.lines import Output, current
from koco.sdk.entrypoints import crew, loader
from koco.sdk.interruption.fence import Fence
from koco.sdk.process.tracebacks import describe
from koco.sdk.steps import places
from koco.sdk.tracer import Tracer

#: How a part of a run ended: the exception, or the result and what is left to do with it.
_Ended = tuple[BaseException | None, Any, Rest]
_Report = Callable[[_Ended], None]

#: How long a loop may take to process a cancellation before its flow is interrupted (seconds).
_BLOCKED_S = 1.0
#: When a busy loop is looked at again (seconds).
_AGAIN_S = 0.05

#: How long tasks that a flow leaves behind may take to end (seconds).
_OTHERS_S = 1.0

_NOT_BY_KOCO = (
    "it was cancelled, but not through koco: its own code, or another flow's in "
    "the same process, has cancelled its task or one that it awaited"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """An imported entrypoint, and the form that checks its inputs."""

    name: str
    entrypoint: Callable[..., Any]
    form: Model | None
    is_async: bool

    def start(self, inputs: Any, tracer: Tracer) -> Any:
        """Call the entrypoint with checked inputs, bound to its parameters."""
        checked = self.form.validate(inputs) if self.form else inputs
        return self.entrypoint(**loader.bind(self.entrypoint, checked, tracer))

    def trace(self, origin: Tracer) -> Tracer:
        """Return the tracer that the entrypoint gets."""
        return origin

    def payload_of(self, result: Any) -> Any:
        """Return the payload of the event that reports the result."""
        return result


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: its status, and its last event."""

    status: Status
    kind: Kind | None = None
    payload: Any = None


def load_flow(
    name: str, path: str | Callable[..., Any], inputs: Sequence[dict[str, Any]] | None
) -> Flow:
    """Import a flow's entrypoint. Its form is the given one, or is made from its signature.

    Raises:
        DeployError: the path does not name a callable.
        Exception: anything that importing the user's module raises.
    """
    if isinstance(path, str):
        function = loader.load(path)
    else:
        loader.refuse_endpoint(path, name)
        function = crew.adapt(path)
    form = Model.from_list(inputs) if inputs is not None else loader.form_of(function)
    return Flow(name, function, form, loader.is_async(function))


def failing(name: str, exc: BaseException) -> Flow:
    """Return a flow that raises an exception when it is called."""
    return Flow(name, functools.partial(_fail, exc), None, is_async=False)


def _fail(exc: BaseException, **_: Any) -> None:
    raise exc


class Run:
    """One call of an entrypoint. `outcome` is awaited; any thread may call `cancel`.

    A coroutine or an async generator runs on `loop`, anything else in its own thread. The
    result of one may have to run in the other: for example if a `def` returns a coroutine.
    """

    def __init__(
        self,
        flow: Flow,
        inputs: Any,
        *,
        tracer: Tracer,
        output: Output,
        loop: asyncio.AbstractEventLoop,
        enter: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what it calls.

        `enter` is called in the flow's context before the flow, `leave` once it has ended and
        before the tasks that it leaves behind are cancelled.
        """
        self._flow = flow
        self._inputs = inputs
        self._tracer = tracer
        self._output = output
        self._loop = loop
        self._enter = enter
        self._leave = leave
        self._task: asyncio.Task[None] | None = None
        self._fence: Fence | None = None
        self._steps = Fence()
        self._home: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Future[_Ended] | None = None
        self._cancelled = False
        #: The CPU time of its own threads that have ended (seconds).
        self.thread_cpu_s = 0.0

    async def outcome(self) -> Outcome:
        """Call the entrypoint and return how it ended."""
        if self._cancelled:
            return Outcome(Status.CANCELLED)  # cancelled before it began
        context = contextvars.copy_context()
        context.run(current.set, self._output)
        context.run(self._enter)
        rest = Rest.LOOP if self._flow.is_async else Rest.THREAD
        exc, result, rest = await self._run_part(rest, self._call_entrypoint, context)
        while rest is not Rest.NOTHING:
            start = functools.partial(_identity, result)
            exc, result, rest = await self._run_part(rest, start, context)
        if exc is None:
            return Outcome(Status.FINISHED, Kind.FINAL, self._flow.payload_of(result))
        return self._outcome_of_error(exc)

    @property
    def is_cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled

    @property
    def is_async(self) -> bool:
        """Whether it runs on the flows' loop."""
        return self._flow.is_async

    @property
    def thread(self) -> int | None:
        """The number of its own thread; None if it has none."""
        return self._fence.thread if self._fence is not None else None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Its task on the flows' loop; None if it has none."""
        return self._task

    def cancel(self) -> None:
        """Ask the run to end: cancel its task, or raise `CancelledError` in its thread."""
        self._cancelled = True
        if (task := self._task) is not None:
            request = _CancelRequest(task, self._steps)
            self._loop.call_soon_threadsafe(request.make)
            if (home := self._home) is not None:
                home.call_soon_threadsafe(
                    home.call_later, _BLOCKED_S, request.interrupt_if_blocked, home
                )
        if (fence := self._fence) is not None:
            fence.interrupt()

    def abandon(self, exc: BaseException) -> None:
        """Let `outcome` return now, with an exception, although the flow does not end."""
        if self._home is not None and self._done is not None:
            self._home.call_soon_threadsafe(_set_result, self._done, _ended_by(exc))

    def _outcome_of_error(self, exc: BaseException) -> Outcome:
        # It is a cancellation only if one was requested: a flow may raise this error itself.
        status = Status.CANCELLED if self._cancelled else Status.ERROR
        is_cancelled = isinstance(exc, asyncio.CancelledError)
        if self._cancelled and is_cancelled:
            return Outcome(status)
        error = describe(exc)
        if is_cancelled and not error["message"]:
            error["message"] = _NOT_BY_KOCO
        return Outcome(status, Kind.ERROR, error)

    def _call_entrypoint(self) -> Any:
        return self._flow.start(self._inputs, self._tracer)

    async def _run_part(
        self, where: Rest, start: Callable[[], Any], context: contextvars.Context
    ) -> _Ended:
        self._home = home = asyncio.get_running_loop()
        done: asyncio.Future[_Ended] = home.create_future()
        self._done = done

        def report(ended: _Ended) -> None:
            home.call_soon_threadsafe(_set_result, done, ended)

        if where is Rest.LOOP:
            self._loop.call_soon_threadsafe(self._start_task, start, report, context=context)
        else:
            self._start_thread(start, report, context)
        return await done

    def _start_task(self, start: Callable[[], Any], report: _Report) -> None:
        # A task inherits the context of the callback that makes it.
        self._task = task = self._loop.create_task(self._run_on_loop(start, report))
        # If the task is cancelled before it begins, its own code cannot report that.
        task.add_done_callback(
            lambda task: report(_ended_by(asyncio.CancelledError())) if task.cancelled() else None
        )
        if self._cancelled:
            self._loop.call_soon(task.cancel)

    async def _run_on_loop(self, start: Callable[[], Any], report: _Report) -> None:
        # Catch everything: SystemExit would end the loop, and every flow on it.
        try:
            result = start()
            while (rest := rest_of(result)) is Rest.LOOP:
                result = await self._await_value(result)
            ended: _Ended = None, result, rest
        except BaseException as exc:  # noqa: BLE001 - returned to `outcome`
            ended = _ended_by(exc)
        if ended[2] is Rest.NOTHING:
            self._leave()
            await _cancel_leftover_tasks()
        report(ended)

    async def _await_value(self, value: Any) -> Any:
        if isinstance(value, AsyncGenerator):
            value = drive_async(value, self._tracer.result)
        if isinstance(value, concurrent.futures.Future):
            return await asyncio.wrap_future(value)
        return await (Stepped(self._steps, value) if inspect.iscoroutine(value) else value)

    def _start_thread(
        self, start: Callable[[], Any], report: _Report, context: contextvars.Context
    ) -> None:
        self._fence = fence = Fence()
        if self._cancelled:
            fence.interrupt()

        def run() -> None:
            # Report after leaving the context, which the result may have to enter elsewhere.
            ended = context.run(self._run_in_thread, fence, start)
            self.thread_cpu_s += thread_time()
            report(ended)

        name = f"flow-{self._flow.name}"
        threading.Thread(target=fence.run, args=(run,), name=name, daemon=True).start()

    def _run_in_thread(self, fence: Fence, start: Callable[[], Any]) -> _Ended:
        places.adopt()
        try:
            result = fence.call(start)
            while (rest := rest_of(result)) is Rest.THREAD:
                result = drive(fence, result, self._tracer.result_sync)
        except BaseException as exc:  # noqa: BLE001 - returned to `outcome`
            return _ended_by(exc)
        return None, result, rest


class _CancelRequest:
    """A request to cancel a task, which the task's loop may take a while to process."""

    def __init__(self, task: asyncio.Task[None], steps: Fence) -> None:
        self._task = task
        self._steps = steps
        self._is_made = False

    def make(self) -> None:
        """Cancel the task; called on its loop."""
        if not self._is_made:
            self._is_made = True
            self._task.cancel()

    def interrupt_if_blocked(self, home: asyncio.AbstractEventLoop) -> None:
        """Interrupt the task if it keeps its loop too busy to process the request."""
        if self._is_made:
            return
        if self._steps.interrupt_now():
            self._is_made = True
        else:  # it logs or starts a thread just now, or another task keeps the loop busy
            home.call_later(_AGAIN_S, self.interrupt_if_blocked, home)


async def _cancel_leftover_tasks() -> None:
    """Cancel the tasks that an execution leaves behind on its loop, as `asyncio.run` does.

    A task that resists for longer than `_OTHERS_S` goes on until its process ends.
    """
    mine = current.get()
    others = mine.tasks - {asyncio.current_task()} if mine is not None else set()
    for task in others:
        task.cancel()
    if others:
        with contextlib.suppress(asyncio.CancelledError):  # cancelled meanwhile: it is ending
            await asyncio.wait(others, timeout=_OTHERS_S)


def _identity(value: Any) -> Any:
    return value


def _ended_by(exc: BaseException) -> _Ended:
    return exc, None, Rest.NOTHING


def _set_result(done: asyncio.Future[_Ended], ended: _Ended) -> None:
    if not done.done():
        done.set_result(ended)
