"""Running one entrypoint: in its loop or a thread, cancellable, with its outcome told."""

import asyncio
import contextvars
import ctypes
import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco.events.model import Kind, Status
from koco.forms import Model
from koco.runner.output import Output, current
from koco.sdk import crew, entrypoint
from koco.sdk.failures import describe
from koco.sdk.tracer import Tracer

Tell = Callable[[BaseException | None, Any], None]


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
    """One call of an entrypoint. `outcome` is awaited, `cancel` may be called from any thread."""

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
        self._thread: threading.Thread | None = None
        self._cancelled = False

    async def outcome(self) -> Outcome:
        """Call the entrypoint and say how it ended."""
        if self._cancelled:
            return Outcome(Status.CANCELLED)  # asked to end before it began
        home = asyncio.get_running_loop()
        done: asyncio.Future[Any] = home.create_future()

        def tell(exc: BaseException | None, result: Any) -> None:
            home.call_soon_threadsafe(_settle, done, exc, result)

        context = contextvars.copy_context()
        context.run(current.set, self._output)
        if self._flow.is_async:
            self._loop.call_soon_threadsafe(self._start_task, tell, context=context)
        else:
            self._thread = threading.Thread(
                target=context.run,
                args=(self._call, tell),
                name=f"flow-{self._flow.name}",
                daemon=True,
            )
            self._thread.start()
        exc, result = await done
        if exc is None:
            return Outcome(Status.FINISHED, Kind.FINAL, result)
        # Only a request makes it a cancellation: a flow may raise it for reasons of its own.
        status = Status.CANCELLED if self._cancelled else Status.ERROR
        if self._cancelled and isinstance(exc, asyncio.CancelledError):
            return Outcome(status)
        return Outcome(status, Kind.ERROR, describe(exc))

    def cancel(self) -> None:
        """Ask it to end: cancel its task, or raise `CancelledError` in its thread."""
        self._cancelled = True
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        elif self._thread is not None and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), ctypes.py_object(asyncio.CancelledError)
            )

    def _start_task(self, tell: Tell) -> None:
        # A task inherits the context of the callback that makes it.
        self._task = self._loop.create_task(self._await(tell))
        if self._cancelled:
            self._loop.call_soon(self._task.cancel)

    async def _await(self, tell: Tell) -> None:
        # Nothing may leave a task: SystemExit would end the loop, and every flow on it.
        try:
            result = self._flow.entrypoint(**self._arguments())
            # A decorator may have run the coroutine itself.
            if inspect.isawaitable(result):
                result = await result
        except BaseException as exc:  # noqa: BLE001 - told to `outcome`
            tell(exc, None)
        else:
            tell(None, result)

    def _call(self, tell: Tell) -> None:
        exc: BaseException | None = None
        result: Any = None
        try:
            try:
                result = self._flow.entrypoint(**self._arguments())
            except BaseException as raised:  # noqa: BLE001 - told to `outcome`
                exc = raised
            tell(exc, result)
        except asyncio.CancelledError:
            tell(exc, result)  # the request came when the function had ended

    def _arguments(self) -> dict[str, Any]:
        inputs = self._flow.form.validate(self._inputs) if self._flow.form else self._inputs
        return entrypoint.bind(self._flow.entrypoint, inputs, self._tracer)


def _settle(done: asyncio.Future[Any], exc: BaseException | None, result: Any) -> None:
    if not done.done():
        done.set_result((exc, result))
