"""Fair turns for requests: a few of each holder are worked on at a time, the others wait in line.

The event loop steps through everything that is ready. So a request waits, at each of its steps, for
all the work that another holder has ready at once. If only a few requests of a holder are under
way, and only a few begin in one round, a burst of thousands delays its own sender, and other
holders only by those few.

A turn is for work. A request that waits for something else (an endpoint, the end of an execution, a
slow client) gives its turn back, or loses it after a moment.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar

from koco.errors import TooManyError

#: How many requests of one holder are worked on at once while others of theirs wait. Halved when
#: the loop is late, and raised again while it is quick.
_MOST = 8
#: How often the loop is checked for lateness while requests wait, and the limit for "late"
#: (seconds).
_LOOK_S, _LATE_S = 0.01, 0.01
#: How long a turn lasts while others wait for it (seconds): a request that takes longer is waiting
#: rather than working.
_LAPSE_S = 0.25
#: How many requests of one holder may wait; by default that many may be made at once.
_LONGEST = 10_000
#: When to try again if the line is full (seconds).
_AGAIN_S = 5.0

#: The turn of the current request.
current: ContextVar["Turn"] = ContextVar("koco_turn")


class Turn:
    """The turn of one request, until it is given back."""

    __slots__ = ("_line", "_turns", "began")

    def __init__(self, turns: "Turns", line: "_Line") -> None:
        self._turns = turns
        self._line = line
        self.began = time.monotonic()
        line.working[self] = None
        line.begun += 1

    def give_back(self) -> None:
        """Let the next request of this holder begin. The second call does nothing."""
        if self in self._line.working:
            del self._line.working[self]
            self._turns.go_on()


class Place:
    """A place in line; `go` is called with the turn when it comes."""

    __slots__ = ("_line", "go")

    def __init__(self, line: "_Line", go: Callable[[Turn], None]) -> None:
        self._line = line
        self.go = go

    def leave(self) -> None:
        """Leave the line."""
        self._line.waiting.pop(self, None)


class _Line:
    """The requests of one holder, oldest first: those that are worked on and those that wait."""

    __slots__ = ("begun", "waiting", "working")

    def __init__(self) -> None:
        self.working: dict[Turn, None] = {}
        self.waiting: dict[Place, None] = {}
        #: How many have begun in this round of the loop.
        self.begun = 0


class Turns:
    """The lines of all holders that have requests now."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._at_once = _MOST
        self._has_next = False
        self._is_looking = False

    def ask(self, holder: str, go: Callable[[Turn], None]) -> Place | None:
        """Call `go` when a request of this holder may be worked on, now or later.

        Returns its place in line if that is later.

        Raises:
            TooManyError: too many requests of this holder already wait.
        """
        line = self._lines.get(holder)
        if line is None:
            line = self._lines[holder] = _Line()
        if not line.waiting and self._has_room(line):
            self.go_on()
            go(Turn(self, line))
            return None
        if len(line.waiting) >= _LONGEST:
            raise TooManyError(
                f"{_LONGEST} of your requests are waiting already",
                hint="send fewer at once",
                retry_after_s=_AGAIN_S,
            )
        place = Place(line, go)
        line.waiting[place] = None
        if not self._is_looking:
            self._look_later()
        return place

    def go_on(self) -> None:
        """Begin the next requests, after everything that is ready now has had its step."""
        if not self._has_next:
            self._has_next = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _has_room(self, line: _Line) -> bool:
        return len(line.working) < self._at_once and line.begun < self._at_once

    def _next_round(self) -> None:
        self._has_next = False
        for holder, line in list(self._lines.items()):
            line.begun = 0
            while line.waiting and self._has_room(line):
                place = next(iter(line.waiting))
                place.leave()
                place.go(Turn(self, line))
            if line.begun:
                self.go_on()
            elif not (line.working or line.waiting):
                del self._lines[holder]

    def _look_later(self) -> None:
        self._is_looking = True
        loop = asyncio.get_running_loop()
        loop.call_later(_LOOK_S, self._look, time.monotonic() + _LOOK_S)

    def _look(self, due: float) -> None:
        """Work on fewer requests at once if the loop is late, and on more if it is not."""
        now = time.monotonic()
        if now - due > _LATE_S:
            self._at_once = max(1, self._at_once // 2)
        elif self._at_once < _MOST:
            self._at_once += 1
        self._is_looking = False
        for line in self._lines.values():
            if line.waiting:
                self._is_looking = True
                for turn in [each for each in line.working if each.began < now - _LAPSE_S]:
                    turn.give_back()
        if self._is_looking:
            self._look_later()
            self.go_on()


def yield_turn() -> None:
    """Give back the current request's turn, because it waits for something else now."""
    if (turn := current.get(None)) is not None:
        turn.give_back()
