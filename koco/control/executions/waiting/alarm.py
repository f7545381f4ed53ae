"""One timer for the next of any number of due times, all of which are in the store."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from koco.control.tasks import RETRY_S, Tasks
from koco.errors import KocoError

log = logging.getLogger(__name__)

#: The longest that the timer is set for (seconds), because the clock may be set forward meanwhile.
_TIMER_S = 60.0


class Alarm:
    """Calls `settle` when something is due, which settles that and returns the next due time.

    Times are in seconds since the epoch; None means that there is none.
    """

    def __init__(self, name: str, settle: Callable[[], Awaitable[float | None]]) -> None:
        self._name = name
        self._settle = settle
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._tasks = Tasks(f"the alarm of {name}")

    def set(self, due: float | None) -> None:
        """Ring at a time, unless the timer is set for an earlier one."""
        if due is None or due >= self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        # Ring a little late. A timer that rings early would find nothing and have to ring again.
        delay_s = min(max(due - time.time(), 0) + 0.001, _TIMER_S)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_time)

    async def ring(self) -> None:
        """Settle what is due now, and set the timer for the next."""
        try:
            due = await self._settle()
        except KocoError:
            log.exception("%s that are due could not be settled yet", self._name)
            due = time.time() + RETRY_S
        self.set(due)

    def _on_time(self) -> None:
        self._timer, self._due = None, math.inf
        self._tasks.spawn(self.ring())
