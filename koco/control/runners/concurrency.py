"""Counts of each flow's running and waiting executions, and the limits on them.

The counts are kept in memory. They are filled from the store when the control plane
starts, and every later change goes through `Load`.
"""

import math
from collections import Counter
from typing import TYPE_CHECKING

from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.plurals import counted, verbal
from koco.store.model import Policy, Release

if TYPE_CHECKING:
    from koco.manifest.model import Limits, Manifest

#: The longest `retry_after_s` that a client is given (seconds).
_LONGEST_S = 60.0


def limits_of(manifest: "Manifest", flow: str) -> "Limits":
    """Return the limits of a flow, by its short name. Its own keys override the service's."""
    for each in manifest.flows:
        if each.name == flow:
            own = {key: getattr(each.limits, key) for key in each.limits.model_fields_set}
            return manifest.limits.model_copy(update=own) if own else manifest.limits
    return manifest.limits


def durable_flows(release: Release) -> frozenset[str]:
    """Return the flows of a release, by their full names, whose executions are durable."""
    flows = release.manifest.flows
    return frozenset(f"{release.service}/{flow.name}" for flow in flows if flow.durable)


def policy_of(limits: "Limits", *, durable: bool = False) -> Policy:
    """Return the part of the limits that is stored with each execution."""
    return Policy(
        durable=durable,
        timeout_s=limits.timeout,
        retries=limits.retries,
        retry_errors=limits.retry_errors,
        backoff_s=limits.backoff,
    )


class Load:
    """Counts the running and the waiting executions of all releases, by full flow name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.running: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        #: By fid: the execution's flow, and the counter that includes it.
        self._counted: dict[str, tuple[str, Counter[str]]] = {}

    def enter(self, fid: str, flow: str, *, runs: bool = False) -> None:
        """Count an execution as waiting, or as running if `runs`."""
        self.leave(fid)
        self._count(fid, flow, self.running if runs else self.waiting)

    def begin(self, fid: str) -> None:
        """Move an execution from waiting to running. Do nothing if it has left."""
        self._move(fid, self.running)

    def go_back(self, fid: str) -> None:
        """Move an execution from running back to waiting. Do nothing if it has left."""
        self._move(fid, self.waiting)

    def leave(self, fid: str) -> None:
        """Stop counting an execution."""
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

    def room(self, flow: str, limits: "Limits") -> float:
        """Return how many more executions of a flow the limits allow to begin now."""
        room = math.inf if limits.running is None else limits.running - self.running[flow]
        if self._settings.max_running:
            room = min(room, self._settings.max_running - self.running.total())
        return max(room, 0)

    def is_bounded(self, limits: "Limits") -> bool:
        """Whether a queue has a limit that a launch under these limits may exceed."""
        return limits.queue is not None or bool(self._settings.max_queue)

    def check(self, flow: str, limits: "Limits", *, places: float, mean_s: float | None) -> None:
        """Reserve a place in the queue for a launch. Release it with `uncheck`.

        `places` is how many executions of this flow the runners could begin now.

        Raises:
            TooManyError: the launch would have to wait, and the queue is full. The message names
                the limit.
        """
        begin = min(self.room(flow, limits), max(places, 0))
        queues = (
            (self.waiting[flow], limits.queue, f"of {flow}", "its limits.queue"),
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
        """Release the place that `check` reserved."""
        self.waiting[flow] -= 1

    def reason(self, flow: str, limits: "Limits") -> str | None:
        """Return which limit keeps a flow's executions waiting; None if none does."""
        if limits.running is not None and self.running[flow] >= limits.running:
            running = self.running[flow]
            return f"{running} {verbal(running, 'runs')} of at most {limits.running}"
        most, running = self._settings.max_running, self.running.total()
        if most and running >= most:
            return f"{running} of all flows {verbal(running, 'runs')} of at most {most}"
        return None
