"""The measures, by name; each takes a `Bench` and yields rows.

In order: what needs a machine without a koco first, what kills things last.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.bench.plane import SERVICES, Plane, temporary
from tests.bench.report import Row


@dataclass(slots=True)
class Bench:
    """What measures share: how much to do, and the control plane, started at first use."""

    quick: bool = False
    full: bool = False
    _plane: Plane | None = None
    #: What measures leave for later ones, by name.
    notes: dict[str, Any] = field(default_factory=dict)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def some(self, count: int) -> int:
        """Return how often to do something: a fifth of it where it must be quick."""
        return max(5, count // 5) if self.quick else count

    @property
    def plane(self) -> Plane:
        """The control plane, without services at first."""
        if self._plane is None:
            plane = Plane(self._stack.enter_context(temporary()))
            self._stack.callback(plane.down)
            plane.up()
            self._plane = plane
        return self._plane

    def service(self, name: str) -> str:
        """Return the name of a service, deployed at first use and with a warm runner."""
        deployed = self.notes.setdefault("deployed", set())
        if name not in deployed:
            assert name in SERVICES
            self.plane.deploy(name)
            deployed.add(name)
        return name

    @property
    def was_used(self) -> bool:
        """Whether any measure asked for the control plane."""
        return self._plane is not None

    def close(self) -> None:
        """End what was started."""
        self._stack.close()
        self._plane = None


Measure = Callable[[Bench], Iterator[Row]]


def every() -> dict[str, Measure]:
    """Return all measures by name, in the order in which they are made."""
    from tests.bench.measures import (
        agents,
        awaiting,
        boot,
        deaths,
        deploys,
        durable,
        events,
        followers,
        history,
        idle,
        latency,
        load,
        parked,
        rates,
        startup,
        top,
    )

    return {
        "boot": boot.launchable,
        "idle": idle.processes,
        "startup": startup.commands,
        "accepted": latency.accepted,
        "first": latency.first_event,
        "finished": latency.finished,
        "emit": latency.emit,
        "mcp": agents.calls,
        "mcp-streams": agents.streams,
        "events": events.one_flow,
        "events-10": events.ten_flows,
        "followers": followers.of_one,
        "followers-each": followers.of_each,
        "followers-stop": followers.that_stop,
        "requests": rates.requests,
        "short": load.short,
        "sleepers": load.sleepers,
        "awaiting": awaiting.approvals,
        "awaiting-sync": awaiting.approvals_sync,
        "each": load.process_each,
        "unchanged": deploys.unchanged,
        "redeploy": deploys.redeploy,
        "dev": deploys.dev,
        "rollback": deploys.rollback,
        "fifty": deploys.fifty,
        "steps": durable.steps,
        "resume": durable.resume,
        "replay": durable.replay,
        "kill": deaths.control_plane,
        "top": top.ten_thousand,
        "history": history.million,
        # Last: they stay.
        "parked": parked.parked,
    }
