"""Show where the executions in this process are at the moment, from inside the process."""

import asyncio

from koco.runner.event_loop import FlowLoop
from koco.runner.flow import Run
from koco.sdk.process import stacks
from koco.sdk.process.stacks import Stack

#: Shown if a run has no frame yet.
_STARTING = Stack(
    "it has not begun: its module is being imported, or it was only just asked to", [], ""
)
#: Shown if an execution's run is over, but the control plane still waits for its outcome.
_RETURNED = Stack("its code has returned, and its outcome is being made JSON or written", [], "")


def stacks_of(
    run: Run | None, loop: FlowLoop, *, everything: bool, has_returned: bool = False
) -> list[Stack]:
    """Return the stacks of an execution, newest call last. `everything` adds all other threads."""
    nothing = [_RETURNED if has_returned else _STARTING]
    found = [stacks.for_display(each) for each in (_stacks_of_run(run, loop) if run else nothing)]
    if everything:
        skipped = run.thread if run else None
        others = stacks.stacks_of_threads(lambda ident: ident == skipped)
        found += [each for each in map(stacks.for_display, others) if each.frames]
    return found


def stacks_of_other_threads(run: Run | None, loop: FlowLoop) -> list[Stack]:
    """Return the stacks of other threads with an author's code, if only one execution runs here."""
    own = {loop.thread, run.thread if run else None}
    others = stacks.stacks_of_threads(lambda ident: ident in own)
    return [stacks.for_display(each) for each in others if stacks.is_of_an_author(each)]


def _stacks_of_run(run: Run, loop: FlowLoop) -> list[Stack]:
    # A `def` may return a coroutine. Then it had a thread before, and is a task now.
    if (task := run.task) is not None and not task.done():
        running = stacks.of_thread(loop.thread) if asyncio.current_task(loop) is task else None
        return stacks.of_task(task, "task of the flow", running)
    if ident := run.thread:
        return [Stack("thread of the flow", stacks.of_thread(ident), "")]
    return [_STARTING]
