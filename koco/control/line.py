"""Where executions wait for a runner of their release.

First come, first served, but past those whose flow runs as often as it may: they
hold up nobody else's.
"""

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from koco.control.limits import FlowLimits, Load
from koco.store.model import Execution


class _Place(NamedTuple):
    number: int
    since: float
    execution: Execution


class Line:
    """The executions of one release that wait; `limits` gives those of a flow by full name."""

    def __init__(self, load: Load, limits: Callable[[str], FlowLimits]) -> None:
        self._load = load
        self.limits = limits
        #: By flow and fid, in their order: who is cancelled leaves from the midst of thousands.
        self._flows: dict[str, OrderedDict[str, _Place]] = {}
        self._last, self._first = itertools.count(1), itertools.count(-1, -1)

    def __bool__(self) -> bool:
        return bool(self._flows)

    def put(self, execution: Execution) -> None:
        """Take an execution at the end."""
        place = _Place(next(self._last), time.monotonic(), execution)
        self._flows.setdefault(execution.flow, OrderedDict())[execution.fid] = place

    def put_back(self, execution: Execution) -> None:
        """Take one at the front that was taken out, and has not run."""
        self._load.go_back(execution.fid)
        place = _Place(next(self._first), time.monotonic(), execution)
        waiting = self._flows.setdefault(execution.flow, OrderedDict())
        waiting[execution.fid] = place
        waiting.move_to_end(execution.fid, last=False)

    def take(self) -> Execution | None:
        """Take out the first that may run, and count it as running."""
        place = self._head()
        if place is None:
            return None
        self.remove(place.execution.fid)
        self._load.begin(place.execution.fid)
        return place.execution

    def remove(self, fid: str) -> None:
        """Take an execution out, if it is there."""
        for flow, waiting in self._flows.items():
            if waiting.pop(fid, None):
                if not waiting:
                    del self._flows[flow]
                return

    def clear(self) -> None:
        """Take all of them out."""
        self._flows.clear()

    def waiting(self) -> list[Execution]:
        """Return what waits, in its order, what may not run yet as well."""
        places = sorted(place for each in self._flows.values() for place in each.values())
        return [place.execution for place in places]

    @property
    def since(self) -> float | None:
        """Since when the first that may run waits (monotonic seconds)."""
        place = self._head()
        return place.since if place else None

    def ready(self, *, but: str = "") -> int:
        """Return how many may run, as far as limits go, of all flows but one."""
        flows = ((name, len(each)) for name, each in self._flows.items() if name != but)
        return sum(int(min(count, self._room(name))) for name, count in flows)

    def _head(self) -> _Place | None:
        flows = ((name, each) for name, each in self._flows.items() if self._room(name) > 0)
        heads = (next(iter(each.values())) for _, each in flows)
        return min(heads, default=None)

    def _room(self, flow: str) -> float:
        return self._load.room(flow, self.limits(flow))
