"""Run a function in a thread that can be interrupted."""

import asyncio
import contextlib
import contextvars
import ctypes
import threading
import time
from _thread import get_ident
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

#: How often a blocked thread looks for an interruption (seconds): Python raises an exception from
#: outside only between two instructions.
_LOOK_S = 0.05


class Guard(Protocol):
    """Lets another thread interrupt a function, but not koco's code around it."""

    def run(self, function: Callable[[], None]) -> None:
        """Run the whole work of the thread."""

    def call(self, function: Callable[..., Any]) -> Any:
        """Call the function that may be interrupted."""

    def interrupt(self) -> None:
        """Raise `asyncio.CancelledError` in the thread. Called by other threads."""


class _Guard:
    """A guard for processes without a runner's fences: tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None

    def run(self, function: Callable[[], None]) -> None:
        function()

    def call(self, function: Callable[..., Any]) -> Any:
        with self._lock:
            self._thread = get_ident()
        try:
            return function()
        finally:
            with self._lock:
                # None is sent while the lock is held, so what is left can be withdrawn.
                _raise_in(self._thread, None)
                self._thread = None

    def interrupt(self) -> None:
        with self._lock:
            if self._thread is not None:
                _raise_in(self._thread, asyncio.CancelledError)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None
    )


#: Makes a guard. A runner sets its fence, because its own code must not be interrupted.
new_guard: Callable[[], Guard] = _Guard
#: Keeps the calling thread from being interrupted. A runner sets it as well.
protected: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext


class Job:
    """A function that runs in a thread of its own, in a copy of the caller's context."""

    def __init__(
        self,
        function: Callable[[], Any],
        name: str,
        *,
        on_done: Callable[[], object] = lambda: None,
    ) -> None:
        self._function = function
        #: Called in the thread at its end.
        self._on_done = on_done
        self._guard = new_guard()
        self._context = contextvars.copy_context()
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._start, name=f"step-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _start(self) -> None:
        self._guard.run(self._run)

    def _run(self) -> None:
        try:
            self._value = self._context.run(self._guard.call, self._function)
        except BaseException as exc:  # noqa: BLE001 - returned to the caller
            self._error = exc
        self._done.set()
        self._on_done()

    def interrupt(self) -> None:
        """Interrupt the function, whose outcome is no longer wanted."""
        self._guard.interrupt()

    def result(self) -> Any:
        """Return the function's value, or raise its exception."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its frames refer to this one
        return self._value

    def run(self, timeout_s: float) -> bool:
        """Run the function; return whether it has ended in time. It is interrupted if not."""
        self.start()
        try:
            is_done = _wait(self._done, timeout_s)
        except BaseException:
            self.interrupt()  # the caller was interrupted
            raise
        if not is_done:
            self.interrupt()
        return is_done


def pause(seconds: float) -> None:
    """Sleep, so that the thread can be interrupted."""
    _wait(threading.Event(), seconds)


def _wait(event: threading.Event, timeout_s: float) -> bool:
    """Block until an event is set, so that the thread can be interrupted; return whether it is."""
    end = time.monotonic() + timeout_s
    while not event.wait(max(0.0, min(_LOOK_S, end - time.monotonic()))):
        if time.monotonic() >= end:
            return event.is_set()
    return True
