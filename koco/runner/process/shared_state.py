"""Restore after each execution everything that a process's executions share.

An author's code may change anything in the interpreter: replace `builtins.open`, stop the clocks
as in a test, lower the recursion limit. In a warm process that would affect the next execution
and koco's own code. Some changes cannot be undone: for example, without privileges a hard limit
cannot be raised again. Then the process must not be reused.
"""

import builtins
import contextlib
import json
import logging
import operator
import os
import resource
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

#: Modules in which every name is restored.
_WHOLE = (builtins, time)
#: Modules that libraries wrap functions of: a name is restored only if it could be called before
#: and can no longer be called.
_WRAPPED = (json, threading)
#: Besides the standard library's, these packages' modules must stay the ones koco was loaded with.
_OURS = frozenset({"koco", "msgspec", "ray"})

#: Returns the values of many names.
_Read = Callable[[dict[str, Any]], tuple[Any, ...]]


class Shared:
    """The state of this process now, to be restored later.

    Everything that `restore` needs is looked up here, because an author may replace it.
    """

    def __init__(self) -> None:
        # These compare about 700 names in C. A Python loop takes three times as long.
        self._all, self._map, self._is, self._callable = all, map, operator.is_, callable
        self._missing = KeyError
        self._whole = [
            (vars(module), dict(vars(module)), operator.itemgetter(*vars(module)))
            for module in _WHOLE
        ]
        self._wrapped = [
            (vars(module), {name: each for name, each in vars(module).items() if callable(each)})
            for module in _WRAPPED
        ]
        kept = sys.stdlib_module_names | _OURS
        self._modules = {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] in kept and name != "__main__"
        }
        self._read_modules: _Read = operator.itemgetter(*self._modules)
        self._filters = list(warnings.filters)
        self._recursion = sys.getrecursionlimit()
        self._switching_s = sys.getswitchinterval()
        self._folder = _folder()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def restore(self, *, is_alone: bool) -> bool:
        """Restore what has changed; return False if that is not completely possible.

        Limits that a neighbour may rely on are restored only if nothing else runs here.
        """
        for now, before, read in self._whole:
            self._put_back(now, before, read)
        # No `all` or `sorted` here: builtins may be the ones that are missing.
        for now, before in self._wrapped:
            if self._all(self._map(self._callable, self._map(now.get, before))):
                continue
            for name, value in before.items():
                if not callable(now.get(name)):
                    now[name] = value
        self._put_back(sys.modules, self._modules, self._read_modules)
        return self._restore_limits() if is_alone else True

    def _put_back(self, now: dict[str, Any], before: dict[str, Any], read: _Read) -> None:
        """Restore the names that have changed. After most executions none has."""
        try:
            is_same = self._all(self._map(self._is, read(now), before.values()))
        except self._missing:
            is_same = False
        if not is_same:
            for name, value in before.items():
                if now.get(name, before) is not value:
                    now[name] = value

    def _restore_limits(self) -> bool:
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switching_s)
        if logging.root.manager.disable != logging.NOTSET:
            logging.disable(logging.NOTSET)  # slow: it forgets what every logger knows
        if list(warnings.filters) != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        if self._folder is not None and _folder() != self._folder:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        if resource.getrlimit(resource.RLIMIT_NOFILE) == self._files:
            return True
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._files)
        except (OSError, ValueError):
            return False
        return True


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - it may no longer exist
    except OSError:
        return None
