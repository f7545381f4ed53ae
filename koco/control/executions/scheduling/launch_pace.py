"""Limit how many launches begin per second, and take holders in turn so that none waits long."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

#: Starts are grouped: those allowed within this time begin together (seconds).
_GRAIN_S = 0.05


class Pace:
    """One line of waiters for each holder. `per_s` returns how many may begin per second."""

    def __init__(self, per_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        #: How many may begin at once, and when that was computed (monotonic seconds).
        self._room, self._then = 1.0, time.monotonic()
        self._next: asyncio.TimerHandle | None = None

    async def turn(self, holder: str) -> None:
        """Wait until the next one of a holder may begin."""
        self._fill()
        if not self._lines and self._room >= 1:
            self._room -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(holder, deque()).append(place)
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(self._pause_s, self._go_on)
        await place

    def _go_on(self) -> None:
        self._next = None
        self._fill()
        while self._lines and self._room >= 1:
            holder, line = next(iter(self._lines.items()))
            place = line.popleft()
            if line:
                self._lines.move_to_end(holder)
            else:
                del self._lines[holder]
            if not place.done():  # if it is done, it was cancelled
                place.set_result(None)
                self._room -= 1
        if self._lines:
            self._next = asyncio.get_running_loop().call_later(self._pause_s, self._go_on)

    @property
    def _pause_s(self) -> float:
        return max(_GRAIN_S, (1 - self._room) / self._per_s())

    def _fill(self) -> None:
        now, per_s = time.monotonic(), self._per_s()
        most = 1 + per_s * _GRAIN_S
        self._room = min(most, self._room + (now - self._then) * per_s)
        self._then = now
