"""What all executions of a process share, put back after each one as it was before the first.

An author's code may change anything in the interpreter: replace `builtins.open`, stop the clocks
as in a test, lower the recursion limit. In a warm process that would reach the next execution
and koco's own code. Not everything can be put back: without privileges a hard limit that was
lowered stays so. Then the process must not be used again.
"""

import builtins
import contextlib
import json
import logging
import os
import resource
import sys
import threading
import time
import warnings

#: Modules in which every name goes back to what it was.
_WHOLE = (builtins, time)
#: Modules in which libraries put wrappers of their own: only what cannot be called any more, and
#: could be before, goes back.
_WRAPPED = (json, threading)
#: Beside the standard library's, the modules that must stay the ones that koco was made with.
_OURS = frozenset({"koco", "msgspec", "ray"})


class Shared:
    """What this process is like now, to be restored later.

    What `restore` needs it has looked up here: an author may have replaced it since.
    """

    def __init__(self) -> None:
        self._whole = [(vars(module), dict(vars(module))) for module in _WHOLE]
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
        self._filters = list(warnings.filters)
        self._recursion = sys.getrecursionlimit()
        self._switching_s = sys.getswitchinterval()
        self._folder = _folder()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def restore(self, *, is_alone: bool) -> bool:
        """Put back what has changed; return False if this process cannot be as it was.

        Limits that a neighbour may rely on are put back only if nothing else runs here.
        """
        # By hand, not with `all` or `sorted`: builtins are what may be missing.
        for now, before in self._whole:
            for name, value in before.items():
                if now.get(name, before) is not value:
                    now[name] = value
        for now, before in self._wrapped:
            for name, value in before.items():
                if not callable(now.get(name)):
                    now[name] = value
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
        return self._restore_limits() if is_alone else True

    def _restore_limits(self) -> bool:
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switching_s)
        logging.disable(logging.NOTSET)
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
        return os.getcwd()  # noqa: PTH109 - it may be gone, and no path object is wanted
    except OSError:
        return None
