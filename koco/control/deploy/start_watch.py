"""Finds out what a starting release waits for, and if it can still become ready."""

import logging
from collections.abc import Iterable

from koco.cluster import node_processes, nodes, worker_starts
from koco.cluster.runners import RunnerDied
from koco.cluster.worker_starts import Birth
from koco.control.deploy.cluster_room import Room
from koco.control.runners.pool import Pool
from koco.store.model import Release

log = logging.getLogger(__name__)


class DiedAtStart(RunnerDied):
    """A runner's process ended before Ray heard of it; `detail` is what it wrote."""

    code = "died_at_start"


class Watch:
    """Finds out what a starting release waits for on the cluster."""

    def __init__(self, room: Room) -> None:
        self._room = room
        #: Processes that were gone at the last check, by service and release. They get one more
        #: check, because Ray may report the death itself, with more details.
        self._gone: dict[tuple[str, int], int] = {}

    async def waits_for(self, release: Release) -> str | None:
        """Describe the parts of a release that wait for a node, or return None."""
        return await self._room.waits_for(release)

    async def installing(self) -> str | None:
        """Return the current step of the package installation on this node, or None."""
        return await node_processes.on_node("", worker_starts.installing)

    async def check(self, release: Release, pool: Pool, *, since_s: float) -> None:
        """Check that a starting release can still become ready.

        Raises:
            NoPlace: Nothing that is under way will make room for its endpoint.
            DiedAtStart: The runner's process died before Ray knew of it.
        """
        await self._room.check(release)
        if pool.runners or pool.newest is None or pool.newest.actor.is_there:
            return
        birth = await self._birth(release, since_s)
        key = (release.service, release.number)
        if birth is None or birth.is_alive:
            self._gone.pop(key, None)
        elif self._gone.get(key) == birth.pid:
            del self._gone[key]
            message = f"its process (pid {birth.pid}) ended before Ray's own code ran in it"
            raise DiedAtStart(message, detail=birth.said)
        else:
            self._gone[key] = birth.pid

    async def _birth(self, release: Release, since_s: float) -> Birth | None:
        for node_id in ["", *await _others()]:
            asked = (release.service, release.number, since_s)
            try:
                if birth := await node_processes.on_node(node_id, worker_starts.look, *asked):
                    return birth
            except node_processes.NodeSilent as exc:
                log.warning("could not search for a runner's process: %s", exc.message)
        return None


async def _others() -> Iterable[str]:
    own = node_processes.own_node()
    return [node.id for node in await nodes.look() if node.is_alive and node.id != own]
