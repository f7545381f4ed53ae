"""What holds a cluster's resources: the actors and tasks that run, and what each has taken."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco.cluster import actor_names
from koco.cluster.dashboard import Dashboard

_KINDS = (("actors", "ALIVE"), ("tasks", "RUNNING"))

#: How Serve names its replicas.
_REPLICA = "SERVE_REPLICA::"


@dataclass(frozen=True, slots=True)
class Holder:
    """An actor or a task that holds something."""

    #: What somebody who reads of it knows it by.
    name: str
    node: str
    resources: dict[str, float]
    #: Whether it is a replica of a Serve application: those stay until somebody acts.
    is_replica: bool = False
    #: The service, release and id of a runner of koco's.
    runner: tuple[str, int, str] | None = None


class Holders:
    """Asks Ray who holds what."""

    def __init__(self, *, dashboard: Callable[[], str] | None = None) -> None:
        self._dashboard = Dashboard(dashboard)

    async def look(self) -> list[Holder]:
        """Return what holds resources, by actors and tasks.

        Raises:
            ServeError: Ray's dashboard cannot be asked.
        """
        found: list[Holder] = []
        for kind, state in _KINDS:
            entries = await self._dashboard.listed(kind, [("state", "=", state)])
            found += [holder for each in entries if (holder := holder_of(each)).resources]
        return found


def holder_of(entry: dict[str, Any]) -> Holder:
    """Return who an entry of Ray's list of actors or tasks is."""
    resources = {
        name: float(amount) for name, amount in (entry.get("required_resources") or {}).items()
    }
    held = {name: amount for name, amount in resources.items() if amount and _is_countable(name)}
    name, node = str(entry.get("name") or ""), str(entry.get("node_id") or "")
    if name.startswith(_REPLICA):
        application, _, deployment = name.removeprefix(_REPLICA).partition("#")
        what = f"the replica {deployment.partition('#')[0]} of {application}"
        return Holder(what, node, held, is_replica=True)
    if runner := actor_names.parse_runner(name):
        return Holder(f"a runner of {runner[0]}/{runner[1]}", node, held, runner=runner)
    kind = "the actor" if entry.get("actor_id") and entry.get("class_name") else "the Ray task"
    return Holder(f"{kind} {entry.get('class_name') or name or '?'}", node, held)


def _is_countable(name: str) -> bool:
    # Parts of a placement group are counted with the group; a node's address counts for nothing.
    return not name.startswith("node:") and "_group_" not in name
