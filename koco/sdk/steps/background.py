"""Questions whose answer nobody waits for: that a lock or a wait is given up."""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

#: Questions in progress, kept here because a loop holds its tasks only weakly.
_pending: set[asyncio.Task[Any]] = set()


def ask_in_background(asking: Coroutine[Any, Any, Any]) -> None:
    """Ask something without waiting for the answer."""
    # A task with a context of its own does not count among the flow's tasks, which are numbered
    # (see `places.context_for_task`): a flow that runs again may not ask this.
    context = contextvars.copy_context()
    task = asyncio.get_running_loop().create_task(asking, context=context)
    _pending.add(task)
    task.add_done_callback(_on_done)


def _on_done(task: asyncio.Task[Any]) -> None:
    _pending.discard(task)
    if not task.cancelled() and (exc := task.exception()) is not None:
        # Most likely its execution has ended, which withdraws the lock anyway.
        log.debug("a wait could not be withdrawn: %s", exc)
