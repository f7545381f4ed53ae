"""Locks of the standard library that all executions of a process share.

`logging` and the import system take theirs and enter `try` a moment later. A thread that is
interrupted in that moment keeps the lock, and whoever logs or imports next waits for ever. And
a module whose import is cut off is missing for the neighbours that waited for it.
"""

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any

from koco.runner.fence import here

#: A function and the one that undoes it.
_PAIRS = ((logging.Handler, "acquire", "release"), (logging, "_acquireLock", "_releaseLock"))
_LOADING = ("_find_and_load", "_lock_unlock_module")


@functools.cache
def shelter() -> None:
    """Have threads of flows be interrupted after they logged or imported, not meanwhile."""
    for owner, acquire, release in _PAIRS:
        if hasattr(owner, acquire):  # newer Pythons take some of these locks by `with`
            setattr(owner, acquire, _entering(getattr(owner, acquire)))
            setattr(owner, release, _leaving(getattr(owner, release)))
    bootstrap: Any = importlib._bootstrap
    for name in _LOADING:
        if hasattr(bootstrap, name):
            setattr(bootstrap, name, _inside(getattr(bootstrap, name)))


def _entering(acquire: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(acquire)
    def entering(*args: Any) -> None:
        if (mine := here()) is not None:
            mine.__enter__()
        acquire(*args)

    return entering


def _leaving(release: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(release)
    def leaving(*args: Any) -> None:
        release(*args)
        if (mine := here()) is not None:
            mine.__exit__(None, None, None)

    return leaving


def _inside(function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any) -> Any:
        if (mine := here()) is None:
            return function(*args)
        with mine:
            return function(*args)

    # Under this name Python leaves it out of the tracebacks of failed imports.
    inside.__code__ = inside.__code__.replace(co_filename=function.__code__.co_filename)
    return inside
