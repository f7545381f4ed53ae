"""Prove that an execution only waits for the control plane, so that its process is not needed.

The proof looks at every task of the execution and at what it waits for. It holds if nothing in
this process could wake one of them: no timer, no connection, no thread, no other execution. What
is not understood counts as work, so a flow may stay longer than it must, but never goes too early.
"""

import asyncio
import concurrent.futures.thread
import contextlib
import gc
import threading
from collections.abc import Collection, Iterable, Iterator
from types import FrameType
from typing import Any

from koco.runner.generators import Stepped
from koco.runner.output.lines import Output, current

_Future = asyncio.Future[Any]

#: The frames in which asyncio waits for several futures (their names differ by Python version).
_WAIT = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
_GROUP = getattr(asyncio.TaskGroup, "_aexit", asyncio.TaskGroup.__aexit__).__code__
_STEPPED = Stepped.__await__.__code__
_AS_COMPLETED = "_wait_for_one"
_SHIELD = "shield.<locals>._outer_done_callback"
_COMPLETION = "as_completed.<locals>._on_completion"

#: How koco's own threads' names begin.
_KOCO = "koco-"


def is_idle(loop: asyncio.AbstractEventLoop, output: Output, waiters: Collection[object]) -> bool:
    """Return whether an async flow only waits; called in the loop's thread.

    `waiters` are its tasks that wait for the control plane.
    """
    if _has_work(output) or _has_callbacks(loop, output):
        return False
    tasks = {task for task in _all_tasks(loop) if getattr(task, "koco_output", None) is output}
    return bool(tasks) and all(_only_waits(task, tasks, waiters) for task in tasks)


def is_idle_in_thread(thread: int | None, output: Output, waiters: Collection[object]) -> bool:
    """Return whether a flow in its own thread only waits."""
    return thread in waiters and not _has_work(output, but=thread)


def _has_work(output: Output, *, but: int | None = None) -> bool:
    """Return whether threads or executors work for an execution, except a flow's own thread."""
    if any(not job.done() for job in output.jobs.copy()):
        return True
    started = output.started
    if started is not None and started.has_tasks:
        return True
    return any(
        getattr(thread, "koco_output", None) is output
        and thread.ident != but
        and not thread.name.startswith(_KOCO)
        # A pool's idle worker: what it works at is one of the jobs.
        and getattr(thread, "_target", None) is not concurrent.futures.thread._worker
        for thread in threading.enumerate()
    )


def _has_callbacks(loop: Any, output: Output) -> bool:
    """Return whether the loop has a timer or a callback of an execution: its context tells."""
    handles: Iterable[Any] = (*loop._scheduled, *loop._ready)
    return any(not each._cancelled and each._context.get(current) is output for each in handles)


def _all_tasks(loop: asyncio.AbstractEventLoop) -> set["asyncio.Task[Any]"]:
    token = current.set(None)  # an execution sees only its own
    try:
        return asyncio.all_tasks(loop)
    finally:
        current.reset(token)


def _only_waits(
    task: "asyncio.Task[Any]", tasks: set["asyncio.Task[Any]"], waiters: Collection[object]
) -> bool:
    waits_for = getattr(task, "_fut_waiter", None)
    if waits_for is None or waits_for.done():
        return False  # it is about to go on
    return task in waiters or _is_explained(waits_for, task, tasks)


def _is_explained(
    future: _Future, task: "asyncio.Task[Any] | None", tasks: set["asyncio.Task[Any]"]
) -> bool:
    """Return whether only the execution's own tasks can end what a task waits for."""
    if future.done() or future in tasks:
        return True
    if isinstance(future, asyncio.Task):
        return False  # another execution's
    if isinstance(future, asyncio.tasks._GatheringFuture):  # type: ignore[attr-defined]
        parts: Iterable[_Future] | None = future._children
    elif (inner := _shielded(future)) is not None:
        parts = [inner]
    else:
        parts = None if task is None else _parts(task, tasks)
    return parts is not None and all(_is_explained(each, None, tasks) for each in parts)


def _parts(task: "asyncio.Task[Any]", tasks: set["asyncio.Task[Any]"]) -> Iterable[_Future] | None:
    """Return the futures for one or all of which a task waits; None if it waits otherwise."""
    frames = list(_frames(task.get_coro()))
    if not frames:
        return None
    code, names = frames[-1].f_code, frames[-1].f_locals
    if code is _WAIT:
        return None if names["timeout_handle"] is not None else list(names["fs"])
    if code is _GROUP:
        return list(names["self"]._tasks)
    caller = frames[-2] if len(frames) > 1 else frames[-1]
    if caller.f_code.co_name == _AS_COMPLETED and caller.f_globals is vars(asyncio.tasks):
        return _uncompleted(caller.f_locals, tasks)
    return None


def _uncompleted(
    names: dict[str, Any], tasks: set["asyncio.Task[Any]"]
) -> Iterable[_Future] | None:
    """Return the rest of the futures of `asyncio.as_completed`."""
    if "self" in names:  # since Python 3.13
        return list(names["self"]._todo)
    for task in tasks:
        for inside in _closures(task, _COMPLETION):
            if inside["done"] is names["done"]:
                return list(inside["todo"])
    return None


def _shielded(future: _Future) -> _Future | None:
    """Return the future that `asyncio.shield` protects by this one."""
    found: Iterator[_Future] = (inside["inner"] for inside in _closures(future, _SHIELD))
    return next(found, None)


def _closures(future: _Future, name: str) -> Iterator[dict[str, Any]]:
    """Yield the variables of those callbacks of a future that have a name."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == name:
            with contextlib.suppress(ValueError):  # a variable has no value yet
                cells = (cell.cell_contents for cell in callback.__closure__)
                yield dict(zip(callback.__code__.co_freevars, cells, strict=True))


def _frames(awaitable: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine and of what it awaits, the innermost last."""
    while awaitable is not None:
        if type(awaitable).__name__.startswith("async_generator_a"):
            # One step of an async generator, which only this knows.
            found = (each for each in gc.get_referents(awaitable) if hasattr(each, "ag_frame"))
            awaitable = next(found, None)
            continue
        links = (link for link in _LINKS if getattr(awaitable, link[0], None) is not None)
        if (link := next(links, None)) is None:
            return
        frame = getattr(awaitable, link[0])
        yield frame
        if frame.f_code is _STEPPED:
            awaitable = frame.f_locals["self"]._coroutine
        else:
            awaitable = getattr(awaitable, link[1])


#: Where a coroutine, an async generator and a generator have their frame and what they await.
_LINKS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))
