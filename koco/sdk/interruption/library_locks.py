"""Protect what all executions of a process share in the standard library.

`logging` and the import system acquire their locks and enter `try` a moment later. If a thread is
interrupted in that moment, it keeps the lock, and the next thread that logs or imports waits for
ever. Also, if an import is interrupted, the neighbours that waited for the module do not get it.

Before Python 3.12, a new thread has the number of the one that starts it until it runs, so an
interruption could hit the new one. It would end without a word, and the other one wait for ever in
`Thread.start`: with a lock that all thread pools of the process need, if one of them started it.
"""

import functools
import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from koco.sdk.interruption.fence import current

#: Functions and the ones that undo them.
_PAIRS = ((logging.Handler, "acquire", "release"), (logging, "_acquireLock", "_releaseLock"))
_LOADING = ("_find_and_load", "_lock_unlock_module")


@functools.cache
def protect_shared_locks() -> None:
    """Make interruptions wait while the thread logs, imports, or starts a thread."""
    for owner, acquire, release in _PAIRS:
        if hasattr(owner, acquire):  # newer Pythons use `with` for some of these locks
            setattr(owner, acquire, _enter_before(getattr(owner, acquire)))
            setattr(owner, release, _leave_after(getattr(owner, release)))
    bootstrap: Any = importlib._bootstrap
    for name in _LOADING:
        if hasattr(bootstrap, name):
            setattr(bootstrap, name, _run_inside(getattr(bootstrap, name)))
    starts: Any = threading.Thread
    starts.start = _run_inside(starts.start)


def _enter_before(acquire: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(acquire)
    def entering(*args: Any) -> None:
        if (mine := current()) is not None:
            mine.__enter__()
        acquire(*args)

    return entering


def _leave_after(release: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(release)
    def leaving(*args: Any) -> None:
        release(*args)
        if (mine := current()) is not None:
            mine.__exit__(None, None, None)

    return leaving


def _run_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any) -> Any:
        if (mine := current()) is None:
            return function(*args)
        with mine:
            return function(*args)

    # With this file name, Python leaves the frame out of tracebacks of failed imports.
    inside.__code__ = inside.__code__.replace(co_filename=function.__code__.co_filename)
    return inside
