"""The line in which executions wait for a runner of their release.

The first one in line is served first. Executions of a flow that is at its limit are
skipped, so that they do not hold up the other flows.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from koco.control.runners.concurrency import Load
from koco.store.model import Execution

if TYPE_CHECKING:
    from koco.manifest.model import Limits


class _Place(NamedTuple):
    number: int
    since: float
    execution: Execution


class _Waiting:
    """The waiting executions of one flow.

    A heap with lazy deletion, because a cancelled one may have to leave the middle of thousands.
    """

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        #: A heap of the numbers and fids of all of them, and of some that have left already.
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
    """The waiting executions of one release. `limits` returns a flow's limits by its full name."""

    def __init__(self, load: Load, limits: Callable[[str], "Limits"]) -> None:
        self._load = load
        self.limits = limits
        #: By flow, and whether they run alone.
        self._flows: dict[tuple[str, bool], _Waiting] = {}
        self._numbers = itertools.count(1)
        #: By fid: the place numbers of executions that were given to a runner.
        self._given: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._flows)

    def put(self, execution: Execution) -> None:
        """Add an execution at the end."""
        self._add(execution, next(self._numbers))

    def hold(self, fid: str) -> None:
        """Reserve a place at the end for an execution that a runner has, in case it comes back."""
        self._given[fid] = next(self._numbers)

    def put_back(self, execution: Execution) -> None:
        """Put an execution that was taken out but has not run back at its former place."""
        self._load.go_back(execution.fid)
        self._add(execution, self._given.pop(execution.fid, 0))

    def _add(self, execution: Execution, number: int) -> None:
        place = _Place(number, time.monotonic(), execution)
        key = execution.flow, execution.runs_alone
        self._flows.setdefault(key, _Waiting()).add(place)

    def take(self, *, alone: bool = True) -> Execution | None:
        """Take out the first execution that the limits allow, and count it as running.

        Without `alone`, those that must run alone are left out.
        """
        place = self._head(alone=alone)
        if place is None:
            return None
        self.remove(place.execution.fid)
        self._given[place.execution.fid] = place.number
        self._load.begin(place.execution.fid)
        return place.execution

    def remove(self, fid: str) -> None:
        """Remove an execution, if it is there, and the place kept for it."""
        self._given.pop(fid, None)
        for key, waiting in self._flows.items():
            if waiting.places.pop(fid, None):
                if not waiting.places:
                    del self._flows[key]
                return

    def clear(self) -> None:
        """Remove all executions."""
        self._flows.clear()

    def waiting(self) -> list[Execution]:
        """Return the waiting executions in order, including those that a limit holds back."""
        places = sorted(place for each in self._flows.values() for place in each.places.values())
        return [place.execution for place in places]

    @property
    def since(self) -> float | None:
        """Since when the first execution that the limits allow has waited (monotonic seconds)."""
        place = self._head()
        return place.since if place else None

    def ready(self, *, but: str = "") -> int:
        """Return how many waiting executions the limits allow, leaving out those of flow `but`."""
        return sum(
            self._ready(flow, each) for (flow, _), each in self._flows.items() if flow != but
        )

    def ready_alone(self) -> int:
        """Return how many waiting executions that must run alone the limits allow."""
        return sum(self._ready(flow, each) for (flow, alone), each in self._flows.items() if alone)

    @property
    def begins_alone(self) -> bool:
        """Whether the first execution that the limits allow must run alone."""
        place = self._head()
        return place is not None and place.execution.runs_alone

    def _ready(self, flow: str, waiting: _Waiting) -> int:
        return int(min(len(waiting.places), self._room(flow)))

    def _head(self, *, alone: bool = True) -> _Place | None:
        heads = (
            each.first
            for (flow, is_alone), each in self._flows.items()
            if (alone or not is_alone) and self._room(flow) > 0
        )
        return min(heads, default=None)

    def _room(self, flow: str) -> float:
        return self._load.room(flow, self.limits(flow))
