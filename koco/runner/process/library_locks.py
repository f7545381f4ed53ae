"""Protect locks of the standard library that all executions of a process share.

`logging` and the import system acquire their locks and enter `try` a moment later. If a thread is
interrupted in that moment, it keeps the lock, and the next thread that logs or imports waits for
ever. Also, if an import is interrupted, the neighbours that waited for the module do not get it.
"""

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any

from koco.runner.process.fence import here

#: Functions and the ones that undo them.
_PAIRS = ((logging.Handler, "acquire", "release"), (logging, "_acquireLock", "_releaseLock"))
_LOADING = ("_find_and_load", "_lock_unlock_module")


@functools.cache
def protect_shared_locks() -> None:
    """Make interruptions of flows' threads wait while they log or import."""
    for owner, acquire, release in _PAIRS:
        if hasattr(owner, acquire):  # newer Pythons use `with` for some of these locks
            setattr(owner, acquire, _enter_before(getattr(owner, acquire)))
            setattr(owner, release, _leave_after(getattr(owner, release)))
    bootstrap: Any = importlib._bootstrap
    for name in _LOADING:
        if hasattr(bootstrap, name):
            setattr(bootstrap, name, _run_inside(getattr(bootstrap, name)))


def _enter_before(acquire: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(acquire)
    def entering(*args: Any) -> None:
        if (mine := here()) is not None:
            mine.__enter__()
        acquire(*args)

    return entering


def _leave_after(release: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(release)
    def leaving(*args: Any) -> None:
        release(*args)
        if (mine := here()) is not None:
            mine.__exit__(None, None, None)

    return leaving


def _run_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any) -> Any:
        if (mine := here()) is None:
            return function(*args)
        with mine:
            return function(*args)

    # With this file name, Python leaves the frame out of tracebacks of failed imports.
    inside.__code__ = inside.__code__.replace(co_filename=function.__code__.co_filename)
    return inside
