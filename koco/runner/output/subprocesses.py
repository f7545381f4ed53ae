"""Capture the output of subprocesses if several executions share a process.

Subprocesses inherit descriptors that all executions share. So they are started with pipes of
their execution in place of descriptors 1 and 2. This covers `subprocess` (and its users
`os.popen` and `asyncio.create_subprocess_exec`), `os.system`, and `os.fork` (and its users, for
example `multiprocessing`). The pipes are made when the first subprocess starts.
"""

import contextlib
import functools
import inspect
import os
import selectors
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any

from koco.events.model import Kind
from koco.runner.output import lines as outputs
from koco.runner.output.lines import Output, current
from koco.runner.output.pipes import FDS, Pipe, pump
from koco.sdk.interruption import fence

_pid = os.getpid()

_KINDS = {fd: kind for kind, fd in FDS.items()}


@functools.cache
def children() -> "Children":
    """Make subprocesses write to the execution that starts them, from now on."""
    made = Children()
    subprocess.Popen.__init__ = _redirect_popen(made, subprocess.Popen.__init__)  # type: ignore[method-assign]
    os.system = _redirect_system(os.system)  # type: ignore[assignment]
    os.register_at_fork(before=made.before_fork, after_in_child=made.after_fork)
    return made


class Children:
    """The pipes of this process's executions, and the thread that reads them."""

    def __init__(self) -> None:
        self._pipes: dict[Output, dict[Kind, Pipe]] = {}
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None

    def writer(self, output: Output, kind: Kind) -> int:
        """Return the descriptor to which subprocesses of an execution write."""
        # Inside the fence: an interruption must not leave half a pipe.
        with fence.inside(), self._lock:
            pipes = self._pipes.setdefault(output, {})
            if kind not in pipes:
                pipes[kind] = Pipe(kind, FDS[kind], self._watched())
                pipes[kind].open_for(output)
            return pipes[kind].writer

    def has_pipes(self, output: Output) -> bool:
        """Return whether an execution has started a subprocess."""
        return output in self._pipes

    def drain(self, output: Output, kind: Kind) -> None:
        """Read the output that an execution's subprocesses have written so far."""
        if (pipes := self._pipes.get(output)) and (pipe := pipes.get(kind)):
            pipe.read()

    def end(self, output: Output) -> None:
        """Read the remaining output. Surviving subprocesses then write to the process's own log."""
        with self._lock:
            pipes = self._pipes.pop(output, {})
        for pipe in pipes.values():
            os.close(pipe.writer)
            pipe.read()

    def _watched(self) -> selectors.BaseSelector:
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            args, name = (self._selector,), "koco-children"
            thread = threading.Thread(target=pump, args=args, name=name, daemon=True)
            # The thread must not belong to the execution whose subprocess is the first.
            token = current.set(None)
            thread.start()
            current.reset(token)
        return self._selector

    def before_fork(self) -> None:
        """Make the pipes that the forked copy of this process will write to."""
        if (output := _starting_execution()) is not None:
            for kind in FDS:
                self.writer(output, kind)

    def after_fork(self) -> None:
        """Lead the copy's descriptors into the pipes."""
        if (output := current.get()) is not None:
            for kind, pipe in self._pipes.get(output, {}).items():
                os.dup2(pipe.writer, FDS[kind])


def _starting_execution() -> Output | None:
    """Return the execution that starts a subprocess; None in a fork, which has pipes already."""
    return current.get() if outputs.pid == _pid else None


def _redirect_popen(children: Children, init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def redirecting(self: Any, *args: Any, **kwargs: Any) -> None:
        if (output := _starting_execution()) is None:
            return init(self, *args, **kwargs)
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)  # raises the proper error
        for name, kind in (("stdout", Kind.STDOUT), ("stderr", Kind.STDERR)):
            if (own := _inherited_kind(bound.arguments, name, kind)) is not None:
                bound.arguments[name] = children.writer(output, own)
        return init(*bound.args, **bound.kwargs)

    return redirecting


def _inherited_kind(arguments: Mapping[str, Any], name: str, kind: Kind) -> Kind | None:
    """Return the kind of output if the subprocess would inherit this process's own stream."""
    given = arguments.get(name)
    if given is None:
        return kind
    with contextlib.suppress(Exception):  # `Popen` itself refuses anything that is not a file
        return _KINDS.get(given if isinstance(given, int) else given.fileno())
    return None


def _redirect_system(system: Callable[[Any], int]) -> Callable[[Any], int]:
    @functools.wraps(system)
    def own(command: Any) -> int:
        if _starting_execution() is None:
            return system(command)
        code = subprocess.Popen(command, shell=True).wait()
        # Like `os.system`: the signal is in the lower byte, the exit code in the one above.
        return -code if code < 0 else code << 8

    return own
