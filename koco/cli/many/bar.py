"""The progress of many launches, as a bar on stderr if that is a terminal."""

import time
from collections import deque
from pathlib import Path

from koco.cli.inputs.key_values import STDIN
from koco.cli.many.lines import Source
from koco.cli.terminal import output, times
from koco.errors import TooManyError

#: The least time between two drawings (seconds).
_PAUSE_S = 0.1
#: The width of the bar (characters).
_WIDTH = 20
#: The rate is that of the last so many lines.
_RECENT = 200


class Bar:
    """Counts lines, and shows how many are done, failed and left."""

    def __init__(self, source: Source) -> None:
        self._line = output.StatusLine()
        self._name = Path(source.name).name
        self._total = _count(source) if self._line.is_shown else None
        self._found = self._done = self._failed = 0
        self._ends: deque[float] = deque(maxlen=_RECENT)
        self._drawn = 0.0
        self._waits = ""

    def found(self) -> None:
        """Count a line that was read."""
        self._found += 1

    def advance(self, *, failed: bool = False, skipped: bool = False) -> None:
        """Count a line that is done."""
        self._done += 1
        self._failed += failed
        self._waits = ""
        if not skipped:
            self._ends.append(time.monotonic())

    def wait(self, exc: TooManyError) -> None:
        """Show that no more may wait at the control plane."""
        self._waits = exc.message

    def show(self) -> None:
        """Draw the bar, if the last time is long enough ago."""
        now = time.monotonic()
        if self._line.is_shown and now - self._drawn >= _PAUSE_S:
            self._drawn = now
            self._line.show(self._text(now))

    def clear(self) -> None:
        """Remove the bar."""
        self._line.clear()

    def _text(self, now: float) -> str:
        parts = [f"{self._name}  {self._gauge()}"]
        parts += [f"{self._failed} failed"] if self._failed else []
        if len(self._ends) > 1 and now > self._ends[0]:
            rate = len(self._ends) / (now - self._ends[0])
            parts.append(f"{rate:.3g}/s")
            if self._total is not None:
                parts.append(f"{times.short((self._total - self._done) / rate)} left")
        parts += [f"waiting for room: {self._waits}"] if self._waits else []
        return "  ".join(parts)

    def _gauge(self) -> str:
        if not self._total:
            return f"{self._done} done"
        filled = min(_WIDTH, _WIDTH * self._done // self._total)
        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}"


def _count(source: Source) -> int | None:
    """Return the number of lines; None for standard input, which is read only once."""
    return None if source.file == STDIN else sum(1 for _ in source.lines())
