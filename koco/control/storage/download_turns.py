"""Turns to download: a few at once, fewer of one holder, and holders one after the other."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DownloadTurns:
    """One line of waiters for each holder: `at_once` have a turn, at most `each` of one holder."""

    def __init__(self, *, at_once: int = 8, each: int = 2) -> None:
        self._at_once = at_once
        self._each = each
        self._running: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, holder: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it while the block runs."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(holder, deque()).append(place)
        self._go_on()
        try:
            await place
            yield
        finally:
            if place.done() and not place.cancelled():
                self._running[holder] -= 1
                self._running += Counter()  # drops those without turns
            else:
                place.cancel()
            self._go_on()

    def _go_on(self) -> None:
        while self._running.total() < self._at_once and (holder := self._next()) is not None:
            place = self._lines[holder].popleft()
            if self._lines[holder]:
                self._lines.move_to_end(holder)
            else:
                del self._lines[holder]
            if not place.done():  # if it is done, it was cancelled
                self._running[holder] += 1
                place.set_result(None)

    def _next(self) -> str | None:
        """Return the first holder in line that may have another turn."""
        return next((each for each in self._lines if self._running[each] < self._each), None)
