"""How much of each flow runs and waits at once, and what limits it.

Counted in memory: the store says what is there when the control plane starts, and
every change goes through here.
"""

import math
from collections import Counter
from typing import Any

import msgspec

from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.plurals import counted, verbal
from koco.store.model import Policy

#: The longest that a client is asked to wait before it tries again (seconds).
_LONGEST_S = 60.0


class FlowLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest says of one flow: its `limits`. None stands for no limit."""

    running: int | None = None
    queue: int | None = None
    timeout: float | None = None
    retries: int = 0
    retry_errors: bool = False
    backoff: float = 1.0

    @property
    def policy(self) -> Policy:
        """What an execution takes along of it."""
        return Policy(
            timeout_s=self.timeout,
            retries=self.retries,
            retry_errors=self.retry_errors,
            backoff_s=self.backoff,
        )


def limits_of(manifest: dict[str, Any], flow: str) -> FlowLimits:
    """Return the limits of a flow, by its short name: its own keys over the service's."""
    limits = dict(manifest.get("limits", {}))
    for each in manifest["flows"]:
        if each["name"] == flow:
            limits |= each.get("limits", {})
    return msgspec.convert(limits, FlowLimits)


class Load:
    """What runs and what waits, by the full names of flows, of all releases."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.running: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        #: Of each execution: its flow, and where it is counted.
        self._counted: dict[str, tuple[str, Counter[str]]] = {}

    def enter(self, fid: str, flow: str, *, runs: bool = False) -> None:
        """Count an execution that waits, or that runs already."""
        self.leave(fid)
        self._count(fid, flow, self.running if runs else self.waiting)

    def begin(self, fid: str) -> None:
        """Count one that waited as one that runs; nothing if it has left."""
        self._move(fid, self.running)

    def go_back(self, fid: str) -> None:
        """Count one that was about to run as one that waits again."""
        self._move(fid, self.waiting)

    def leave(self, fid: str) -> None:
        """Count an execution no more."""
        if found := self._counted.pop(fid, None):
            flow, counter = found
            counter[flow] -= 1

    def __contains__(self, fid: str) -> bool:
        return fid in self._counted

    def _move(self, fid: str, counter: Counter[str]) -> None:
        if found := self._counted.get(fid):
            self.leave(fid)
            self._count(fid, found[0], counter)

    def _count(self, fid: str, flow: str, counter: Counter[str]) -> None:
        counter[flow] += 1
        self._counted[fid] = flow, counter

    # limits

    def room(self, flow: str, limits: FlowLimits) -> float:
        """Return how many more executions of a flow may begin, as far as limits go."""
        room = math.inf if limits.running is None else limits.running - self.running[flow]
        if self._settings.max_running:
            room = min(room, self._settings.max_running - self.running.total())
        return max(room, 0)

    def check(self, flow: str, limits: FlowLimits, *, places: float, mean_s: float | None) -> None:
        """Refuse a launch that would have to wait where no more may; count it on its way else.

        `places` is how many executions of this flow the runners could begin now.

        Raises:
            TooManyError: it names the limit.
        """
        begin = min(self.room(flow, limits), max(places, 0))
        queues = (
            (self.waiting[flow], limits.queue, f"of {flow}", "limits.queue of its manifest"),
            (self.waiting.total(), self._settings.max_queue or None, "of all flows", "max_queue"),
        )
        for waiting, most, whose, limit in queues:
            if most is not None and waiting + 1 - begin > most:
                there = max(waiting - int(begin), 0)
                raise TooManyError(
                    f"{counted(there, 'execution')} {whose} {verbal(there, 'waits')} already, "
                    f"and at most {most} may: {limit}",
                    hint="try again later, when some have ended",
                    retry_after_s=min(mean_s or 1.0, _LONGEST_S),
                )
        self.waiting[flow] += 1

    def uncheck(self, flow: str) -> None:
        """Count one no more that was on its way."""
        self.waiting[flow] -= 1

    def reason(self, flow: str, limits: FlowLimits) -> str | None:
        """Say which limit keeps a flow's executions waiting, if one does."""
        if limits.running is not None and self.running[flow] >= limits.running:
            running = self.running[flow]
            return f"{running} {verbal(running, 'runs')} of at most {limits.running}"
        most, running = self._settings.max_running, self.running.total()
        if most and running >= most:
            return f"{running} of all flows {verbal(running, 'runs')} of at most {most}"
        return None
