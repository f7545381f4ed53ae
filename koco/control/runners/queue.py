"""Where executions wait for a runner of their release.

First come, first served, but past those whose flow runs as often as it may: they
hold up nobody else's.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

from koco.control.runners.concurrency import FlowLimits, Load
from koco.store.model import Execution


class _Place(NamedTuple):
    number: int
    since: float
    execution: Execution


class _Waiting:
    """The executions of one flow that wait; who is cancelled leaves from the midst of thousands."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        #: The numbers and fids of all of them, and of some that have left.
        self._order: list[tuple[int, str]] = []

    def add(self, place: _Place) -> None:
        self.places[place.execution.fid] = place
        heapq.heappush(self._order, (place.number, place.execution.fid))

    @property
    def first(self) -> _Place:
        while True:
            number, fid = self._order[0]
            place = self.places.get(fid)
            if place is not None and place.number == number:
                return place
            heapq.heappop(self._order)


class Line:
    """The executions of one release that wait; `limits` gives those of a flow by full name."""

    def __init__(self, load: Load, limits: Callable[[str], FlowLimits]) -> None:
        self._load = load
        self.limits = limits
        self._flows: dict[str, _Waiting] = {}
        self._numbers = itertools.count(1)
        #: The numbers of those that a runner was given, by fid.
        self._given: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._flows)

    def put(self, execution: Execution) -> None:
        """Take an execution at the end."""
        self._add(execution, next(self._numbers))

    def hold(self, fid: str) -> None:
        """Keep the place at the end for an execution that a runner has, should it come back."""
        self._given[fid] = next(self._numbers)

    def put_back(self, execution: Execution) -> None:
        """Take one where it was that was taken out, and has not run."""
        self._load.go_back(execution.fid)
        self._add(execution, self._given.pop(execution.fid, 0))

    def _add(self, execution: Execution, number: int) -> None:
        place = _Place(number, time.monotonic(), execution)
        self._flows.setdefault(execution.flow, _Waiting()).add(place)

    def take(self) -> Execution | None:
        """Take out the first that may run, and count it as running."""
        place = self._head()
        if place is None:
            return None
        self.remove(place.execution.fid)
        self._given[place.execution.fid] = place.number
        self._load.begin(place.execution.fid)
        return place.execution

    def remove(self, fid: str) -> None:
        """Take an execution out, if it is there, and keep no place for it."""
        self._given.pop(fid, None)
        for flow, waiting in self._flows.items():
            if waiting.places.pop(fid, None):
                if not waiting.places:
                    del self._flows[flow]
                return

    def clear(self) -> None:
        """Take all of them out."""
        self._flows.clear()

    def waiting(self) -> list[Execution]:
        """Return what waits, in its order, what may not run yet as well."""
        places = sorted(place for each in self._flows.values() for place in each.places.values())
        return [place.execution for place in places]

    @property
    def since(self) -> float | None:
        """Since when the first that may run waits (monotonic seconds)."""
        place = self._head()
        return place.since if place else None

    def ready(self, *, but: str = "") -> int:
        """Return how many may run, as far as limits go, of all flows but one."""
        flows = ((name, len(each.places)) for name, each in self._flows.items() if name != but)
        return sum(int(min(count, self._room(name))) for name, count in flows)

    def _head(self) -> _Place | None:
        flows = ((name, each) for name, each in self._flows.items() if self._room(name) > 0)
        heads = (each.first for _, each in flows)
        return min(heads, default=None)

    def _room(self, flow: str) -> float:
        return self._load.room(flow, self.limits(flow))
