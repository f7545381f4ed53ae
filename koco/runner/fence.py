"""Where a flow's thread may be interrupted, and where the interruption has to wait.

Python can raise an exception in another thread, between any two of its instructions. In
koco's own code that would be harmful: in the middle of a change to the event buffer that all
executions of the process share, say. So each thread of a flow has a fence: code of the user's
runs outside of it, and koco's inside, where the exception waits until the thread leaves.
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

#: The fences of threads of flows, by the thread's number.
_fences: "dict[int, Fence]" = {}
#: Those of loops' threads: the one of the execution that takes a step there just now.
_steps: "dict[int, Fence]" = {}
#: For a thread that has none.
_OPEN = contextlib.nullcontext()


class CancelledError(asyncio.CancelledError):
    """What is raised in a thread from outside; making one says that it has arrived."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        thread = get_ident()
        if (fence := _fences.get(thread) or _steps.get(thread)) is not None:
            fence.arrived()


def here() -> "Fence | None":
    """Return the fence of the thread that asks, where that is a flow's."""
    return _fences.get(get_ident())


def inside() -> AbstractContextManager[None]:
    """Return what keeps the thread that asks inside its fence; nothing does where it has none."""
    return _fences.get(get_ident()) or _OPEN


class Fence:
    """One thread's. `interrupt` may be called from any thread, the rest belongs to its own."""

    __slots__ = ("_depth", "_is_due", "_is_sent", "_lock", "_thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: How many times koco's code has been entered; a flow's code runs at 0.
        self._depth = 1
        self._thread = 0
        #: An interruption that waits until the thread leaves the fence.
        self._is_due = False
        #: One that Python was told to raise, and that has not arrived.
        self._is_sent = False

    @property
    def is_due(self) -> bool:
        """Whether the thread is interrupted when it leaves the fence."""
        return self._is_due

    @property
    def thread(self) -> int:
        """The thread's number, 0 before it has begun."""
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
        """Do so only where code of the flow's runs just now; say whether it does."""
        with self._lock:
            if self._depth:
                return False
        # If it ends in between, the interruption is due at its next step.
        self.interrupt()
        return True

    def step(self, function: Callable[[], Any]) -> Any:
        """Call a part of a coroutine, in a thread that it shares with others; see `call`."""
        self._thread = thread = get_ident()
        _steps[thread] = self
        return self.call(function)

    def run(self, function: Callable[[], None]) -> None:
        """Call koco's function, which the thread is for, inside the fence."""
        self._thread = get_ident()
        _fences[self._thread] = self
        try:
            function()
        finally:
            # Inside to the end and ever after: another thread may get the same number.
            del _fences[self._thread]

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the user's, from inside the fence, where it may be interrupted.

        Raises:
            CancelledError: it was, or was to be before it began.
            BaseException: whatever else the function raises.
        """
        try:
            try:
                self._open()
                return function(*args, **kwargs)
            finally:
                self._shut()
        except asyncio.CancelledError:
            while not self._depth:
                # It came between the function's end and the fence.
                self._shut()
            raise

    def check(self) -> None:
        """Raise `CancelledError` where one is due: for what waits inside the fence."""
        with self._lock:
            is_due, self._is_due = self._is_due, False
        if is_due:
            raise asyncio.CancelledError

    def arrived(self) -> None:
        """Note that what was sent has arrived. Without the lock: its owner may be this thread."""
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
        """Take back what was sent and has not arrived; nothing is sent while the lock is held."""
        _raise_in(self._thread, None)
        self._is_due, self._is_sent = True, False


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have a thread raise an exception at its next step; None takes back what it is to raise."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None
    )
