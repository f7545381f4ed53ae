"""An overview of the cluster for `koco status`: versions, nodes, restarts."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from koco.cluster import nodes, placement
from koco.cluster.ray_work import Item, Work

#: How old the nodes in an overview may be (seconds): to list them, Ray's head is asked twice.
_FRESH_S = 0.5


class Overview:
    """The overview of the cluster that `koco status` shows."""

    def __init__(self, look: Callable[[], Awaitable[list[placement.Node]]] = nodes.look) -> None:
        """`look` returns the nodes."""
        self._look = look
        self._work = Work()
        self._looking: asyncio.Task[placement.ClusterState] | None = None
        self._seen_at = 0.0
        self._restarts: int | None = None

    async def describe(self) -> placement.ClusterState:
        """Return the overview, at most half a second old. Callers at once share one look."""
        now = time.monotonic()
        if self._looking is None or now - self._seen_at > _FRESH_S or _has_failed(self._looking):
            # Its age counts from here: it shows at least what was true when it began.
            self._seen_at, self._looking = now, asyncio.create_task(self._describe())
        return await asyncio.shield(self._looking)

    async def nodes(self) -> list[placement.Node]:
        """Return the current nodes."""
        return await self._look()

    async def work(self) -> list[Item]:
        """Return the running Ray tasks and actors of releases."""
        return await self._work.look()

    async def _describe(self) -> placement.ClusterState:
        """Ask Ray, in threads because its answers come over the network."""
        if self._restarts is None:  # a restarted control plane is another process
            self._restarts = await asyncio.to_thread(_count_restarts)
        return placement.ClusterState(
            version=ray.__version__,
            python=platform.python_version(),
            nodes=await self._look(),
            restarts=self._restarts,
            auth="token" if is_token_auth_enabled() else "disabled",
        )


def _count_restarts() -> int:
    if (actor_id := ray.get_runtime_context().get_actor_id()) is None:
        return 0  # not in an actor
    return int(ray._private.state.actors(actor_id).get("NumRestarts", 0))


def _has_failed(looking: "asyncio.Task[placement.ClusterState]") -> bool:
    return looking.done() and (looking.cancelled() or looking.exception() is not None)
