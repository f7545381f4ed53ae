"""Run a function in a thread that can be interrupted."""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

from koco.sdk.interruption.fence import Fence
from koco.sdk.interruption.library_locks import protect_shared_locks

#: How often a blocked thread looks for an interruption (seconds): Python raises an exception from
#: outside only between two instructions.
_LOOK_S = 0.05


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
        self._fence = Fence()
        self._context = contextvars.copy_context()
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._start, name=f"step-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        protect_shared_locks()
        self._thread.start()

    def _start(self) -> None:
        self._fence.run(self._run)

    def _run(self) -> None:
        try:
            self._value = self._context.run(self._fence.call, self._function)
        except BaseException as exc:  # noqa: BLE001 - returned to the caller
            self._error = exc
        self._done.set()
        self._on_done()

    def interrupt(self) -> None:
        """Interrupt the function, whose outcome is no longer wanted."""
        self._fence.interrupt()

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
