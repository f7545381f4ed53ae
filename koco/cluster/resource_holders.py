"""The actors and tasks that hold a cluster's resources, and how much each holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from koco.cluster import actor_names
from koco.cluster.dashboard import Dashboard

_KINDS = (("actors", "ALIVE"), ("tasks", "RUNNING"))

#: The prefix of the names of Serve's replicas.
_REPLICA = "SERVE_REPLICA::"


@dataclass(frozen=True, slots=True)
class Holder:
    """An actor or a task that holds resources."""

    #: A description that users recognise, such as "a runner of shop/3".
    name: str
    node: str
    resources: dict[str, float]
    #: The Serve application of which it is a replica. A replica stays until it is removed.
    application: str | None = None
    #: Service, release and id, if it is one of koco's runners.
    runner: tuple[str, int, str] | None = None


class Holders:
    """Ask Ray which actors and tasks hold resources."""

    def __init__(self, *, dashboard: Callable[[], str] | None = None) -> None:
        self._dashboard = Dashboard(dashboard)

    async def look(self) -> list[Holder]:
        """Return the holders of resources, first actors, then tasks.

        Raises:
            ServeError: Ray's dashboard does not answer.
        """
        found: list[Holder] = []
        for kind, state in _KINDS:
            entries = await self._dashboard.listed(kind, [("state", "=", state)])
            found += [holder for each in entries if (holder := holder_of(each)).resources]
        return found


def holder_of(entry: dict[str, Any]) -> Holder:
    """Return the holder that an entry of Ray's list of actors or tasks describes."""
    resources = {
        name: float(amount) for name, amount in (entry.get("required_resources") or {}).items()
    }
    held = {name: amount for name, amount in resources.items() if amount and _is_countable(name)}
    name, node = str(entry.get("name") or ""), str(entry.get("node_id") or "")
    if name.startswith(_REPLICA):
        application, _, deployment = name.removeprefix(_REPLICA).partition("#")
        what = f"the replica {deployment.partition('#')[0]} of {application}"
        return Holder(what, node, held, application=application)
    if runner := actor_names.parse_runner(name):
        return Holder(f"a runner of {runner[0]}/{runner[1]}", node, held, runner=runner)
    kind = "the actor" if entry.get("actor_id") and entry.get("class_name") else "the Ray task"
    return Holder(f"{kind} {entry.get('class_name') or name or '?'}", node, held)


def _is_countable(name: str) -> bool:
    # Parts of a placement group are counted with the group. A node's address is no real resource.
    return not name.startswith("node:") and "_group_" not in name
