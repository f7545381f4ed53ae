"""Describes the resources that a release waits for: how much is free, and who holds the rest."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from koco.cluster import nodes as cluster_nodes
from koco.cluster import placement
from koco.cluster.placement import Node
from koco.cluster.resource_holders import Holder, Holders
from koco.cluster.serve import Serve, name_of
from koco.cluster.serve_failures import Request
from koco.control.deploy.room_to_come import Outlook
from koco.control.executions.supervisor import Supervisor
from koco.errors import KocoError
from koco.store.model import Release

#: The maximum numbers of holders to name, and of executions for each.
_NAMED, _FIDS = 5, 2


class NoPlace(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """What a release asks for is nowhere, and nothing under way can give it back."""

    code = "no_place"


class Room:
    """Finds out which resources starting releases wait for."""

    def __init__(
        self,
        serve: Serve,
        supervisor: Supervisor,
        *,
        holders: Holders | None = None,
        look: Callable[[], Awaitable[list[Node]]] = cluster_nodes.look,
        can_grow: Callable[[], bool] = lambda: True,
    ) -> None:
        """`can_grow` returns True if the cluster may add nodes automatically."""
        self._serve = serve
        self._supervisor = supervisor
        self._holders = holders or Holders()
        self._look = look
        self._can_grow = can_grow

    async def waits_for(self, release: Release) -> str | None:
        """Describe the parts of a release that wait for a node, or return None.

        The text includes the free resources and the holders of the rest.
        """
        requests = self._requests(release)
        if not requests:
            return None
        nodes = await self._look()
        waiting = [(each, why) for each in requests if (why := placement.busy(each, nodes))]
        if not waiting:
            return None
        lines = [f"{each.text}: {why}" if each.text else why for each, why in waiting]
        if any(placement.misfit(each, nodes) is None for each, _ in waiting):
            lines += (
                [held]
                if (held := self._describe_holders(await self._holders.look(), waiting))
                else []
            )
        return "; ".join(lines)

    async def check(self, release: Release) -> None:
        """Check that a release's endpoint has room, or may still get it.

        Executions and tasks free their resources when they end, and replicas when their release is
        replaced; see `Outlook`.

        Raises:
            NoPlace: Nothing under way will make room for the endpoint.
        """
        requests = self._serve.requests.get(name_of(release.service, release.number)) or []
        if not requests:
            return
        nodes = await self._look()
        if not any(placement.busy(each, nodes) for each in requests):
            return
        if await asyncio.to_thread(self._can_grow):
            return
        holders = await self._holders.look()
        outlook = Outlook(
            nodes, holders, self._supervisor.pools, self._serve.requests, self._serve.ours
        )
        if outlook.has_room_for((release.service, release.number)):
            return
        raise NoPlace(
            f"no node has room for its endpoint: {await self.waits_for(release)}",
            hint="nothing that runs now will make room for it: request less with"
            " `serve.ray_actor_options`, undeploy a service that uses it, or start a node",
        )

    def _requests(self, release: Release) -> list[Request]:
        if requests := self._serve.requests.get(name_of(release.service, release.number)):
            return requests
        runner = release.manifest.runner
        pool = self._supervisor.pools.get((release.service, release.number))
        if not (runner.resources or runner.labels) or pool is None or pool.runners:
            return []
        return [Request("", runner.resources, runner.labels)]

    def _describe_holders(self, holders: list[Holder], waiting: list[tuple[Request, str]]) -> str:
        """Return a phrase with the holders of the requested resources, or an empty one."""
        wanted = {name for each, _ in waiting for name in each.resources}
        wanted = {"memory" if name == "memory_mb" else name for name in wanted}
        sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for holder in holders:
            for name in wanted & holder.resources.keys():
                sums[self._name(holder)][name] += holder.resources[name]
        holders_text = [
            f"{who} ({', '.join(placement.sized(name, amount) for name, amount in each.items())})"
            for who, each in sorted(sums.items(), key=lambda item: -max(item[1].values()))
        ]
        more = f" and {len(holders_text) - _NAMED} more" if len(holders_text) > _NAMED else ""
        return f"held by {', '.join(holders_text[:_NAMED])}{more}" if holders_text else ""

    def _name(self, holder: Holder) -> str:
        if holder.runner is None:
            return holder.name
        service, number, runner_id = holder.runner
        pool = self._supervisor.pools.get((service, number))
        runner = pool.runners.get(runner_id) if pool else None
        fids = sorted(runner.running)[:_FIDS] if runner else []
        return f"{holder.name} which runs {', '.join(fids)}" if fids else holder.name
