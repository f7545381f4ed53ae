"""The time that an answer may take."""

import time

#: The minimum average rate of an answer after its grace period (bytes per second).
SLOWEST = 1024


class Pace:
    """The time that an answer may take: `grace_s`, and more with each byte of its body.

    The clock starts with the first read, because the request is still being sent until then. The
    bytes of a head do not extend its time, because no useful head is long.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._ends: float | None = None

    def restart(self) -> None:
        """Start a new period, because a complete piece has arrived."""
        self._ends = time.monotonic() + self.grace_s

    def left_s(self) -> float:
        """Return how long the next byte may take (seconds); 0 or less if the time is up."""
        if self._ends is None:
            self.restart()
        assert self._ends is not None
        # Never longer than the grace, however much has arrived: silence is silence.
        return min(self._ends - time.monotonic(), self.grace_s)

    def arrived(self, count: int) -> None:
        """Count bytes that have arrived."""
        if self._ends is not None:
            self._ends += count / SLOWEST
