"""Read single keys at a terminal, without echo and without Enter."""

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator

from koco.cli.dev.happenings import Typed


class Keys:
    """The keyboard. While it is `lent`, lines are typed as usual."""

    def __init__(self, report: Callable[[Typed], object]) -> None:
        self._report = report
        self._input = sys.stdin.fileno()
        self._former = termios.tcgetattr(self._input)
        self._wake, self._waker = os.pipe()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Report keys from now on. Ctrl-C stays a signal."""
        tty.setcbreak(self._input, termios.TCSADRAIN)
        self._thread = threading.Thread(target=self._read, name="koco-keys", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give the terminal back as it was."""
        if self._thread is not None:
            os.write(self._waker, b".")
            self._thread.join()
            self._thread = None
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._former)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Let somebody else read whole lines meanwhile."""
        self.end()
        try:
            yield
        finally:
            self.begin()

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._input, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 1)
                return
            typed = os.read(self._input, 64)
            if not typed:  # the terminal is gone
                self._report(Typed("q"))
                return
            for key in typed.decode(errors="ignore"):
                self._report(Typed(key))
