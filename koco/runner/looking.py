"""What executions in this process are in the middle of, said by the process itself."""

import asyncio

from koco.runner.flow import Run
from koco.sdk import stacks
from koco.sdk.stacks import Stack

#: Why a task that is at no frame of its own waits.
_STARTING = Stack(
    "it has not begun: its module is being imported, or it was only just asked to", []
)
#: Why nothing of an execution is here that the control plane waits for.
_RETURNED = Stack("its code has returned, and its outcome is being made JSON or written", [])


def of(
    run: Run | None,
    loop: asyncio.AbstractEventLoop,
    loop_thread: int,
    *,
    everything: bool,
    has_returned: bool = False,
) -> list[Stack]:
    """Return the stacks of an execution, newest call last; with `everything`, of all threads.

    `loop_thread` is the number of the thread in which the loop of `async def` flows runs.
    """
    found = _own(run, loop, loop_thread) if run else [_RETURNED if has_returned else _STARTING]
    found = [stacks.shown(each) for each in found]
    if everything:
        skipped = run.thread if run else None
        others = stacks.others(lambda ident: ident == skipped)
        found += [each for each in map(stacks.shown, others) if each.frames]
    return found


def beside(run: Run | None, loop_thread: int) -> list[Stack]:
    """Return the stacks of an author's code in other threads: of one that runs here alone."""
    own = {loop_thread, run.thread if run else None}
    others = stacks.others(lambda ident: ident in own)
    return [stacks.shown(each) for each in others if stacks.is_of_an_author(each)]


def _own(run: Run, loop: asyncio.AbstractEventLoop, loop_thread: int) -> list[Stack]:
    # A `def` may return a coroutine: then it has had a thread, and is a task by now.
    if (task := run.task) is not None and not task.done():
        running = stacks.of_thread(loop_thread) if asyncio.current_task(loop) is task else None
        return stacks.of_task(task, "task of the flow", running)
    if ident := run.thread:
        return [Stack("thread of the flow", stacks.of_thread(ident))]
    return [_STARTING]
