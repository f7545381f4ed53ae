"""Follow the calls that Ray makes in a worker: of a flow's Ray tasks, and of its actors' methods.

Which execution a call works for is known once a tracer arrives, with the arguments or later; how
long the call lasts, only Ray knows. So every function that Ray loads is wrapped, in each process
of a release. Functions of Ray and koco are left alone, and with them runners and replicas.

A process at its memory limit has no memory left in which Ray could report an error, and would die
without any mention of memory. So every call that ends with a `MemoryError` gets some more memory to
report it.
"""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from itertools import chain
from typing import TYPE_CHECKING, Any

from koco.sdk.process import memory

if TYPE_CHECKING:
    from koco.sdk.tracer import Tracer

#: For how many tasks tracers may arrive before their calls begin; beyond it, the oldest is dropped.
_ARRIVED = 1000

#: Modules whose code is not an author's.
_FRAMEWORKS = ("ray.", "koco.")


class Call:
    """One call of a task or an actor's method in this process."""

    __slots__ = ("endings", "is_constructor")

    def __init__(self, *, is_constructor: bool) -> None:
        #: Whether it creates the actor of this process.
        self.is_constructor = is_constructor
        #: Functions to run at its end; they may block.
        self.endings: list[Callable[[], None]] = []

    def end(self) -> None:
        """Run the functions that wait for its end."""
        while self.endings:
            self.endings.pop()()


_current: ContextVar[Call | None] = ContextVar("koco_call", default=None)
#: The tracers among the arguments of calls that are about to begin, by the task's id.
_arrived: "dict[Any, Tracer]" = {}
#: Makes a call work for a tracer's execution; set before the first tracer arrives.
on_tracer: "Callable[[Tracer, Call], None] | None" = None
#: Called with each call that begins, once this process's actor works for an execution.
on_begin: list[Callable[[Call], None]] = []


def assign_call(tracer: "Tracer") -> None:
    """Make the call that a tracer came with work for the tracer's execution."""
    import ray

    if on_tracer is None or not is_installed():
        return
    worker = ray._private.worker.global_worker
    actor = worker.actors.get(worker.actor_id)
    if actor is not None and _is_framework_code(type(actor)):
        return
    if (call := _current.get()) is not None:
        on_tracer(tracer, call)
    elif actor is None or not worker.core_worker.current_actor_is_asyncio():
        _arrived.setdefault(worker.current_task_id, tracer)  # the first of several counts
        if len(_arrived) > _ARRIVED:
            del _arrived[next(iter(_arrived))]


def _begin_call(args: tuple[Any, ...], more: dict[str, Any], *, is_constructor: bool) -> Call:
    import ray

    call = Call(is_constructor=is_constructor)
    _current.set(call)
    tracer = None
    if _arrived:
        tracer = _arrived.pop(ray._private.worker.global_worker.current_task_id, None)
    if tracer is None and on_tracer is not None:
        from koco.sdk.tracer import Tracer  # it is there by now; each worker's start is not for it

        # If one loop reads the arguments of all calls, only the arguments show which tracer is
        # whose. Compare types: `isinstance` may run code of an object with a fake `__class__`.
        found = (each for each in chain(args, more.values()) if issubclass(type(each), Tracer))
        tracer = next(found, None)
    if tracer is not None and on_tracer is not None:
        on_tracer(tracer, call)
    for told in on_begin:
        told(call)
    return call


def follow_calls(
    function: Callable[..., Any], *, is_constructor: bool = False
) -> Callable[..., Any]:
    """Return a function that does the same, and whose calls are each followed as a `Call`."""
    begin = functools.partial(_begin_call, is_constructor=is_constructor)

    def ended(call: Call) -> None:
        _current.set(None)
        call.end()

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def follow_coroutine(*args: Any, **more: Any) -> Any:
            call = begin(args, more)
            try:
                return await function(*args, **more)
            finally:
                await _end_async(call)

        return follow_coroutine
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def follow_stream(*args: Any, **more: Any) -> AsyncIterator[Any]:
            call = begin(args, more)
            try:
                async for each in function(*args, **more):
                    yield each
            finally:
                await _end_async(call)

        return follow_stream
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def follow_generator(*args: Any, **more: Any) -> Iterator[Any]:
            call = begin(args, more)
            try:
                yield from function(*args, **more)
            finally:
                ended(call)

        return follow_generator

    @functools.wraps(function)
    def follow(*args: Any, **more: Any) -> Any:
        call = begin(args, more)
        try:
            return function(*args, **more)
        finally:
            ended(call)

    return follow


async def _end_async(call: Call) -> None:
    _current.set(None)
    if call.endings:
        # In a thread, because other calls run on this loop.
        await asyncio.to_thread(call.end)


def is_installed() -> bool:
    """Return whether calls are followed in this process."""
    return bool(install.cache_info().currsize)


@functools.cache
def install() -> None:
    """Follow all calls that Ray makes in this process from now on, and report refused memory."""
    from ray._private.function_manager import FunctionActorManager

    find, make = (
        FunctionActorManager.get_execution_info,
        FunctionActorManager._make_actor_method_executor,
    )
    known: dict[int, Any] = {}

    @functools.wraps(find)
    def found(self: Any, job_id: Any, descriptor: Any) -> Any:
        info = find(self, job_id, descriptor)
        if id(info) not in known:
            function = _report_memory_error(info.function)
            if not descriptor.is_actor_method():  # those are followed by `made`, below
                function = _follow_author_code(function)
            # Keep the original as well: its id must not be reused.
            known[id(info)] = info, info._replace(function=function)
        return known[id(info)][1]

    @functools.wraps(make)
    def made(self: Any, name: str, method: Any) -> Any:
        return make(self, name, _follow_author_code(method, is_constructor=name == "__init__"))

    FunctionActorManager.get_execution_info = found
    FunctionActorManager._make_actor_method_executor = made


def _report_memory_error(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except MemoryError as exc:
            memory.allow_spare()
            if not memory.has_message(exc) and (described := memory.describe(exc)):
                exc.args = (described["message"],)
            raise

    return call


def _follow_author_code(function: Any, *, is_constructor: bool = False) -> Any:
    if not inspect.isfunction(function) or _is_framework_code(function):
        return function
    return follow_calls(function, is_constructor=is_constructor)


def _is_framework_code(function: Any) -> bool:
    return str(function.__module__).startswith(_FRAMEWORKS)
