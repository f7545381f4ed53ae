"""How long to wait before the next start after runners have failed repeatedly."""

import time

from koco.events import line

#: Pauses after the first, second, … failure in a row (seconds); the last one repeats.
_PAUSES_S = (0.5, 2.0, 8.0, 30.0, 60.0)
#: A runner that has lived this long counts as working, even if it got no execution (seconds).
LIVED_S = 60.0
#: How long a failure is remembered if nothing starts meanwhile (seconds).
_KEPT_S = 300.0


class Setbacks:
    """Counts starts that failed, and runners that died before they began an execution."""

    def __init__(self) -> None:
        #: The last failure; None after a runner has worked.
        self.trouble: str | None = None
        self._count = 0
        self._last = 0.0
        self._was_death = False
        self._until = 0.0

    @property
    def pause_s(self) -> float:
        """How long to wait before another start (seconds)."""
        return max(0.0, self._until - time.monotonic())

    @property
    def why(self) -> str | None:
        """Why there are no runners; None if nothing has failed."""
        if self.trouble is None:
            return None
        return self.trouble if self._was_death else f"no runner starts: {self.trouble}"

    @property
    def next_try(self) -> str:
        """The time of the next start, as text that begins with a semicolon; empty if it is soon."""
        if (pause_s := self.pause_s) < 1:
            return ""
        return f"; next try at {line.timestamp(time.time() + pause_s)[11:19]} UTC"

    def add(self, cause: str, *, is_death: bool = False) -> float:
        """Count a failure; return how long to wait before the next start (seconds)."""
        pause_s = _PAUSES_S[min(self._count, len(_PAUSES_S) - 1)]
        self._count += 1
        self._last = time.monotonic()
        self._until = self._last + pause_s
        self._was_death = is_death
        self.trouble = f"its runners end before they begin: {cause}" if is_death else cause
        return pause_s

    def has_started(self) -> None:
        """Forget failed starts because a runner has started.

        Deaths before the first execution are still remembered, because this runner may die, too.
        """
        if not self._was_death:
            self._clear()

    def has_worked(self, since: float) -> None:
        """Forget all failures if a runner that works was started at `since`, after the last one.

        If it was started before that failure, it says nothing about starts, so the pauses stay. But
        it shows that runners can begin executions. `since` is in monotonic seconds.
        """
        if since > self._last:
            self._clear()
        elif self._was_death:
            self.trouble = None

    def fade(self) -> None:
        """Forget failures that are long ago and were not retried because no runner was needed."""
        if self._count and time.monotonic() - self._last > _KEPT_S:
            self._clear()

    def _clear(self) -> None:
        self.trouble, self._count, self._was_death, self._until = None, 0, False, 0.0
