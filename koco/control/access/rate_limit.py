"""The rate limit of each key: a token bucket, refilled as time goes by."""

import time
from collections.abc import Callable

from koco.control.access.caller import Caller
from koco.control.settings import Settings
from koco.errors import TooManyError

#: How much unused time a key may save up for a burst (seconds).
_BURST_S = 10.0
#: Full buckets are dropped when there are more than this.
_MANY = 10_000


class Rates:
    """The buckets of all holders."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        #: The tokens left in each bucket, and when they were counted.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: Caller) -> None:
        """Count a request.

        Raises:
            TooManyError: the caller makes more than `key_requests_per_s`.
        """
        rate = self._settings.key_requests_per_s
        if not rate:
            return
        room, now = max(1.0, rate * _BURST_S), self._clock()
        left, then = self._buckets.get(caller.holder, (room, now))
        left = min(room, left + (now - then) * rate)
        if left < 1:
            who = repr(caller.name) if caller.name else "this address, without a key,"
            raise TooManyError(
                f"{who} makes more requests than key_requests_per_s, {rate:g}",
                hint="make fewer; an admin can change the limit:"
                " `koco up --set key_requests_per_s=N`, 0 for none",
                retry_after_s=(1 - left) / rate,
            )
        self._buckets[caller.holder] = (left - 1, now)
        if len(self._buckets) > _MANY:
            self._drop_full(room, now, rate)

    def _drop_full(self, room: float, now: float, rate: float) -> None:
        self._buckets = {
            key: (left, then)
            for key, (left, then) in self._buckets.items()
            if left + (now - then) * rate < room
        }
