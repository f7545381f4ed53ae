"""An overview of the cluster for `koco status`: versions, nodes, restarts."""

import asyncio
import platform

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from koco.cluster import nodes, placement
from koco.cluster.ray_work import Item, Work


class Overview:
    """The overview of the cluster that `koco status` shows."""

    def __init__(self) -> None:
        self._work = Work()

    async def describe(self) -> placement.ClusterState:
        """Ask Ray, in threads because its answers come over the network."""
        restarts, found = await asyncio.gather(asyncio.to_thread(self._restarts), nodes.look())
        return placement.ClusterState(
            version=ray.__version__,
            python=platform.python_version(),
            nodes=found,
            restarts=restarts,
            auth="token" if is_token_auth_enabled() else "disabled",
        )

    async def nodes(self) -> list[placement.Node]:
        """Return the current nodes."""
        return await nodes.look()

    async def work(self) -> list[Item]:
        """Return the running Ray tasks and actors of releases."""
        return await self._work.look()

    def _restarts(self) -> int:
        actor_id = ray.get_runtime_context().get_actor_id()
        return int(ray._private.state.actors(actor_id).get("NumRestarts", 0))
