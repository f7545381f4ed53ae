"""The time that an answer may take."""

import time
from collections.abc import Callable

#: The minimum average rate of an answer after its grace period (bytes per second).
SLOWEST = 1024

#: How long silence lasts before it is looked whether a server is there at all (seconds).
QUIET_S = 30.0


class Pace:
    """The time that an answer may take: `grace_s`, and more with each byte of its body.

    The clock starts with the first read, because the request is still being sent until then. The
    bytes of a head do not extend its time, because no useful head is long.

    If the answer may take longer than `QUIET_S`, `look` is called after each silence of that time.
    It raises an `HttpError` if it makes no sense to wait any more.
    """

    def __init__(self, grace_s: float, look: Callable[[], object] | None = None) -> None:
        self.grace_s = grace_s
        self._look = look if grace_s > QUIET_S else None
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

    def patience_s(self) -> float:
        """Return how long to wait for the next byte before `goes_on` is asked (seconds)."""
        return min(self.left_s(), self.grace_s if self._look is None else QUIET_S)

    def goes_on(self) -> bool:
        """Return whether to wait on after a silence. `look` may raise its error."""
        if self._look is None or self.left_s() <= 0:
            return False
        self._look()
        return True

    def arrived(self, count: int) -> None:
        """Count bytes that have arrived."""
        if self._ends is not None:
            self._ends += count / SLOWEST
