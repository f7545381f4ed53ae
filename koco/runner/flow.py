"""Running one entrypoint: in its loop or a thread, cancellable, with its outcome told."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from koco.events.model import Kind, Status
from koco.forms import Model
from koco.runner.fence import Fence
from koco.runner.generators import Rest, Stepped, drive, drive_async, rest_of
from koco.runner.output import Output, current
from koco.sdk import crew, entrypoint
from koco.sdk.failures import describe
from koco.sdk.tracer import Tracer

#: How a part of it ended: what it raised, or what it returned and what is left to do with that.
_Ended = tuple[BaseException | None, Any, Rest]
_Tell = Callable[[_Ended], None]

#: How long a loop may take to hear of a cancellation before its flow is interrupted (seconds).
_BLOCKED_S = 1.0

#: How long tasks that a flow leaves behind may take over ending (seconds).
_OTHERS_S = 1.0

_NOT_ASKED_FOR = (
    "it was cancelled, but nobody has asked koco for that: its own code, or another flow's in "
    "the same process, has cancelled its task or one that it awaited"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """An imported entrypoint, and the form that its inputs have passed."""

    name: str
    entrypoint: Callable[..., Any]
    form: Model | None
    is_async: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: its status, and the event that says with what."""

    status: Status
    kind: Kind | None = None
    payload: Any = None


def loaded(name: str, path: str | Callable[..., Any], inputs: list[dict[str, Any]] | None) -> Flow:
    """Import a flow's entrypoint; its form is the given one, or made from its signature.

    Raises:
        DeployError: the path names nothing callable.
        Exception: whatever importing the user's module raises.
    """
    if isinstance(path, str):
        function = entrypoint.load(path)
    else:
        entrypoint.refuse_endpoint(path, name)
        function = crew.adapted(path)
    form = Model.from_list(inputs) if inputs is not None else entrypoint.form_of(function)
    return Flow(name, function, form, entrypoint.is_async(function))


class Orders:
    """The flows that an endpoint of the service's own has had run so far, by name and path.

    It has checked the inputs. May be asked from several threads.
    """

    def __init__(self) -> None:
        self._flows: dict[tuple[str, str], Flow] = {}

    def flow(self, name: str, path: str) -> Flow:
        """Return a flow, imported once.

        Whatever importing it raises, it raises when it is called, for it is an execution by
        then; the next one tries again.
        """
        if known := self._flows.get((name, path)):
            return known
        try:
            function = entrypoint.load(path)
        except BaseException as exc:  # noqa: BLE001 - whatever a user's module raises
            return Flow(name, functools.partial(_fail, exc), None, is_async=False)
        flow = Flow(name, function, None, entrypoint.is_async(function))
        return self._flows.setdefault((name, path), flow)


def _fail(exc: BaseException, **_: Any) -> None:
    raise exc


class Run:
    """One call of an entrypoint. `outcome` is awaited, `cancel` may be called from any thread.

    A coroutine or an async generator runs on `loop`, all else in a thread of its own. What an
    entrypoint returns may belong to the other one: a `def` may return a coroutine.
    """

    def __init__(
        self,
        flow: Flow,
        inputs: dict[str, Any],
        *,
        tracer: Tracer,
        output: Output,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._flow = flow
        self._inputs = inputs
        self._tracer = tracer
        self._output = output
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._fence: Fence | None = None
        self._steps = Fence()
        self._home: asyncio.AbstractEventLoop | None = None
        self._cancelled = False

    async def outcome(self) -> Outcome:
        """Call the entrypoint and say how it ended."""
        if self._cancelled:
            return Outcome(Status.CANCELLED)  # asked to end before it began
        context = contextvars.copy_context()
        context.run(current.set, self._output)
        rest = Rest.LOOP if self._flow.is_async else Rest.THREAD
        exc, result, rest = await self._leg(rest, self._enter, context)
        while rest is not Rest.NOTHING:
            start = functools.partial(_same, result)
            exc, result, rest = await self._leg(rest, start, context)
        if exc is None:
            return Outcome(Status.FINISHED, Kind.FINAL, result)
        return self._failed(exc)

    @property
    def thread(self) -> int | None:
        """The number of the thread that it runs in, where it has one of its own."""
        return self._fence.thread if self._fence is not None else None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that it runs as, on the flows' loop."""
        return self._task

    def cancel(self) -> None:
        """Ask it to end: cancel its task, or raise `CancelledError` in its thread."""
        self._cancelled = True
        if (task := self._task) is not None:
            asked = _Request(task, self._steps)
            self._loop.call_soon_threadsafe(asked.make)
            if self._home is not None:
                self._home.call_soon_threadsafe(self._home.call_later, _BLOCKED_S, asked.insist)
        if (fence := self._fence) is not None:
            fence.interrupt()

    def _failed(self, exc: BaseException) -> Outcome:
        # Only a request makes it a cancellation: a flow may raise it for reasons of its own.
        status = Status.CANCELLED if self._cancelled else Status.ERROR
        is_cancelled = isinstance(exc, asyncio.CancelledError)
        if self._cancelled and is_cancelled:
            return Outcome(status)
        error = describe(exc)
        if is_cancelled and not error["message"]:
            error["message"] = _NOT_ASKED_FOR
        return Outcome(status, Kind.ERROR, error)

    def _enter(self) -> Any:
        inputs = self._flow.form.validate(self._inputs) if self._flow.form else self._inputs
        arguments = entrypoint.bind(self._flow.entrypoint, inputs, self._tracer)
        return self._flow.entrypoint(**arguments)

    async def _leg(
        self, where: Rest, start: Callable[[], Any], context: contextvars.Context
    ) -> _Ended:
        """Run a part of it on the loop or in a thread."""
        self._home = home = asyncio.get_running_loop()
        done: asyncio.Future[_Ended] = home.create_future()

        def tell(ended: _Ended) -> None:
            home.call_soon_threadsafe(_settle, done, ended)

        if where is Rest.LOOP:
            self._loop.call_soon_threadsafe(self._start_task, start, tell, context=context)
        else:
            self._start_thread(start, tell, context)
        return await done

    def _start_task(self, start: Callable[[], Any], tell: _Tell) -> None:
        # A task inherits the context of the callback that makes it.
        self._task = task = self._loop.create_task(self._await(start, tell))
        # Whoever cancels it before it begins leaves nobody to tell of that.
        task.add_done_callback(
            lambda task: tell(_raised(asyncio.CancelledError())) if task.cancelled() else None
        )
        if self._cancelled:
            self._loop.call_soon(task.cancel)

    async def _await(self, start: Callable[[], Any], tell: _Tell) -> None:
        # Nothing may leave a task: SystemExit would end the loop, and every flow on it.
        try:
            result = start()
            while (rest := rest_of(result)) is Rest.LOOP:
                result = await self._awaited(result)
            ended: _Ended = None, result, rest
        except BaseException as exc:  # noqa: BLE001 - told to `outcome`
            ended = _raised(exc)
        if ended[2] is Rest.NOTHING:
            await _end_others()
        tell(ended)

    async def _awaited(self, value: Any) -> Any:
        if isinstance(value, AsyncGenerator):
            value = drive_async(value, self._tracer.result)
        if isinstance(value, concurrent.futures.Future):
            return await asyncio.wrap_future(value)
        return await (Stepped(self._steps, value) if inspect.iscoroutine(value) else value)

    def _start_thread(
        self, start: Callable[[], Any], tell: _Tell, context: contextvars.Context
    ) -> None:
        self._fence = fence = Fence()
        if self._cancelled:
            fence.interrupt()

        def run() -> None:
            # Told when the context is left: what it returned may have to enter it elsewhere.
            tell(context.run(self._call, fence, start))

        name = f"flow-{self._flow.name}"
        threading.Thread(target=fence.run, args=(run,), name=name, daemon=True).start()

    def _call(self, fence: Fence, start: Callable[[], Any]) -> _Ended:
        try:
            result = fence.call(start)
            while (rest := rest_of(result)) is Rest.THREAD:
                result = drive(fence, result, self._tracer.result_sync)
        except BaseException as exc:  # noqa: BLE001 - told to `outcome`
            return _raised(exc)
        return None, result, rest


class _Request:
    """A request to cancel a task, which its loop hears once it gets to it."""

    def __init__(self, task: asyncio.Task[None], steps: Fence) -> None:
        self._task = task
        self._steps = steps
        self._is_made = False

    def make(self) -> None:
        """Cancel the task; called on its loop."""
        if not self._is_made:
            self._is_made = True
            self._task.cancel()

    def insist(self) -> None:
        """Interrupt the task where it has kept its loop from hearing."""
        if not self._is_made and self._steps.interrupt_now():
            self._is_made = True


async def _end_others() -> None:
    """Cancel the tasks that an execution leaves behind on its loop, as `asyncio.run` does.

    What resists for longer than `_OTHERS_S` goes on until its process ends.
    """
    mine = current.get()
    # By owner, not by `asyncio.all_tasks()` alone: in a test it tells of others' as well.
    others = {
        task
        for task in asyncio.all_tasks() - {asyncio.current_task()}
        if mine is not None and getattr(task, "koco_output", None) is mine
    }
    for task in others:
        task.cancel()
    if others:
        with contextlib.suppress(asyncio.CancelledError):  # asked to end meanwhile: it does
            await asyncio.wait(others, timeout=_OTHERS_S)


def _same(value: Any) -> Any:
    return value


def _raised(exc: BaseException) -> _Ended:
    return exc, None, Rest.NOTHING


def _settle(done: asyncio.Future[_Ended], ended: _Ended) -> None:
    if not done.done():
        done.set_result(ended)
