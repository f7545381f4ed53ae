"""Looks at the cluster for what a release that is starting waits for, and whether in vain."""

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
    """What `koco.control.deploy.rollout` asks about releases that are starting."""

    def __init__(self, room: Room) -> None:
        self._room = room
        #: Processes that were gone at the last look, by service and release: Ray may know of it,
        #: and tells more.
        self._gone: dict[tuple[str, int], int] = {}

    async def waits_for(self, release: Release) -> str | None:
        """Say what of it waits for a node, if something does."""
        return await self._room.waits_for(release)

    async def installing(self) -> str | None:
        """Return what is being done to install packages, on this node."""
        return await node_processes.on_node("", worker_starts.installing)

    async def check(self, release: Release, pool: Pool, *, since_s: float) -> None:
        """Do nothing while a release that is starting may become ready.

        Raises:
            NoPlace: nothing that is under way makes room for its endpoint.
            DiedAtStart: its process died before it could say so.
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
                log.warning("could not look for a runner's process: %s", exc.message)
        return None


async def _others() -> Iterable[str]:
    own = node_processes.own_node()
    return [node.id for node in await nodes.look() if node.is_alive and node.id != own]
