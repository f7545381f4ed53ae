"""The times at which the feed of changes had its numbers, for clients that ask by time.

Kodosumi's clients send the time of their last look back. koco's feed has numbers, which are
exact. So each look is noted, with the number that it reached.
"""

import bisect
import time

#: How many looks are remembered. A client that sends an older one gets everything since then anew.
_MOST = 10_000


class ChangeClock:
    """The times and numbers of the latest looks, in their order."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._numbers: list[int] = []

    def note(self, number: int) -> float:
        """Note that the feed is at a number now; return a time that stands for it."""
        if self._numbers and number <= self._numbers[-1]:
            # Known already, or a slower request comes with an older number.
            at = bisect.bisect_right(self._numbers, number) - 1
            return self._times[at] if at >= 0 else 0.0
        now = max(time.time(), self._times[-1] + 1e-6 if self._times else 0.0)
        self._times.append(now)
        self._numbers.append(number)
        if len(self._times) > _MOST:
            del self._times[: _MOST // 2], self._numbers[: _MOST // 2]
        return now

    def number_at(self, since: float) -> int | None:
        """Return the number that the feed had reached at a time; None if that is not known."""
        at = bisect.bisect_right(self._times, since) - 1
        return self._numbers[at] if at >= 0 else None
