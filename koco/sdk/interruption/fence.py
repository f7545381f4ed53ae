"""Decide when a flow's thread may be interrupted, and when the interruption has to wait.

Python can raise an exception in another thread, between any two of its instructions. That would
be harmful in koco's own code: for example in the middle of a change to the event buffer that all
executions of the process share. So each thread of a flow has a fence. The user's code runs
outside of it. Koco's code runs inside, where an interruption waits until the thread leaves.
"""

import asyncio
import contextlib
import ctypes
import threading
from _thread import get_ident
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

#: The fences of flows' threads, by thread number.
_fences: "dict[int, Fence]" = {}
#: For threads of event loops: the fence of the execution that takes a step there just now.
_steps: "dict[int, Fence]" = {}
#: Used for a thread without a fence.
_OPEN = contextlib.nullcontext()


class CancelledError(asyncio.CancelledError):
    """Raised in a thread from outside. Creating an instance records that it has arrived."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if (fence := current()) is not None:
            fence.mark_arrived()


def here() -> "Fence | None":
    """Return the calling thread's fence, or None if it is not a flow's thread."""
    return _fences.get(get_ident())


def current() -> "Fence | None":
    """Return the fence of the code that the calling thread runs: a flow's, or a coroutine's step's.

    It may also be that of a step that has ended. That one is shut already, so to enter it is safe.
    """
    thread = get_ident()
    return _fences.get(thread) or _steps.get(thread)


def inside() -> AbstractContextManager[None]:
    """Return a context that keeps the calling thread inside its fence, if it has one."""
    return _fences.get(get_ident()) or _OPEN


class Fence:
    """One thread's fence. Only `interrupt` may be called from other threads."""

    __slots__ = ("_depth", "_is_due", "_is_sent", "_lock", "_thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: How deeply nested in koco's code the thread is; a flow's code runs at 0.
        self._depth = 1
        self._thread = 0
        #: Whether an interruption waits until the thread leaves the fence.
        self._is_due = False
        #: Whether Python was asked to raise one that has not arrived yet.
        self._is_sent = False

    @property
    def is_due(self) -> bool:
        """Whether the thread will be interrupted when it leaves the fence."""
        return self._is_due

    @property
    def thread(self) -> int:
        """The thread's number; 0 before it has begun."""
        return self._thread

    def interrupt(self) -> None:
        """Raise `CancelledError` in the thread: at once, or when it leaves the fence."""
        with self._lock:
            if self._depth:
                self._is_due = True
            elif not self._is_sent:
                self._is_sent = True
                _raise_in(self._thread, CancelledError)

    def interrupt_now(self) -> bool:
        """Interrupt the thread only if the flow's code runs just now; return whether it does."""
        with self._lock:
            if self._depth:
                return False
        # If the step ends in between, the interruption is due at the next step.
        self.interrupt()
        return True

    def step(self, function: Callable[[], Any]) -> Any:
        """Call a part of a coroutine, in a thread that others share; see `call`."""
        self._thread = thread = get_ident()
        _steps[thread] = self
        return self.call(function)

    def run(self, function: Callable[[], None]) -> None:
        """Run koco's function, which is the thread's whole work, inside the fence."""
        self._thread = get_ident()
        _fences[self._thread] = self
        try:
            function()
        finally:
            # Still inside: another thread may later get the same number.
            del _fences[self._thread]

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a user's function from inside the fence. The function may be interrupted.

        Raises:
            CancelledError: it was interrupted, or should have been before it began.
            BaseException: anything that the function raises.
        """
        try:
            try:
                self._open()
                return function(*args, **kwargs)
            finally:
                self._shut()
        except asyncio.CancelledError:
            while not self._depth:
                # The interruption came after the function ended and before the fence closed.
                self._shut()
            raise

    def check(self) -> None:
        """Raise `CancelledError` if one is due. For code that waits inside the fence."""
        with self._lock:
            is_due, self._is_due = self._is_due, False
        if is_due:
            raise asyncio.CancelledError

    def mark_arrived(self) -> None:
        """Record that the interruption has arrived. Takes no lock: this thread may hold it."""
        self._is_sent = False

    def __enter__(self) -> None:
        with self._lock:
            if self._is_sent:
                self._retract()
            self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._depth -= 1
            is_due = self._is_due and not self._depth
            if is_due:
                self._is_due = False
        if is_due:
            raise asyncio.CancelledError from value

    def _open(self) -> None:
        with self._lock:
            if self._is_due:
                self._is_due = False
                raise asyncio.CancelledError
            self._depth = 0

    def _shut(self) -> None:
        with self._lock:
            if self._is_sent:
                self._retract()
            self._depth = 1

    def _retract(self) -> None:
        """Withdraw an interruption that has not arrived. None is sent while the lock is held."""
        _raise_in(self._thread, None)
        self._is_due, self._is_sent = True, False


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Make a thread raise an exception at its next instruction; None withdraws it."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None
    )
