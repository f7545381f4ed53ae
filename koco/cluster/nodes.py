"""The cluster's nodes: their resources, and whether an actor's node is lost.

Ray takes about 15 s to notice that a node has died (`health_check_period_ms` times
`health_check_failure_threshold`). Until then it reports the node's actors as unavailable. A
refused connection to the node's raylet shows it at once.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import ray

from koco.cluster.placement import Node
from koco.runner.process import ray_logs

#: Ray's death reasons of a node that left as planned: it was terminated (1), or drained (3 and 4).
_EXPECTED = (1, 3, 4)
#: The program that starts nodes if the cluster's autoscaler is on.
_MONITOR = "autoscaler/_private/monitor.py"
_CONFIGURED = "--autoscaling-config"
#: How long a node may take to accept a connection (seconds).
_CONNECT_S = 1.0
#: Pause before trying a node again that refused a connection (seconds).
_ONCE_MORE_S = 0.3


def can_grow() -> bool:
    """Return whether the cluster may get more nodes by itself, as far as this node can tell.

    Ray's monitor runs on the head of each cluster. It starts nodes if it has an autoscaling
    configuration. If there is no monitor here, something else may start nodes.
    """
    found = [_words(file) for file in Path("/proc").glob("[0-9]*/cmdline")]
    mine = f"--logs-dir={ray_logs.folder()}"
    monitors = [words for words in found if _is_monitor(words) and mine in words]
    configured = [word for words in monitors for word in words if word.startswith(_CONFIGURED)]
    return not monitors or bool(configured)


def _is_monitor(words: list[str]) -> bool:
    return any(word.endswith(_MONITOR) for word in words)


def _words(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


async def look() -> list[Node]:
    """Return the nodes. Runs in a thread because Ray's answers come over the network."""
    return await asyncio.to_thread(_look)


def _look() -> list[Node]:
    free = ray._private.state.available_resources_per_node()
    return [
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            is_alive=node["Alive"],
            resources=_countable(node["Resources"]),
            # Ray leaves out nodes that are idle, and nodes that are dead.
            free=_countable(free.get(node["NodeID"], {})),
            labels={
                name: value for name, value in node["Labels"].items() if name != "ray.io/node-id"
            },
            death=_death(node),
        )
        for node in ray.nodes()
    ]


def _death(node: dict[str, Any]) -> str:
    if node["Alive"] or node["DeathReason"] in _EXPECTED:
        return ""
    return node["DeathReasonMessage"] or "Ray does not say why"


def _countable(resources: dict[str, float]) -> dict[str, float]:
    # To Ray, a node's address is one of its resources; `node:__internal_head__` marks the head.
    return {name: amount for name, amount in resources.items() if not name.startswith("node:")}


async def is_lost(handle: Any) -> bool:
    """Return whether an actor's node is lost.

    A node is lost if its raylet, which outlives all actors, refuses a connection twice. A
    connection that times out does not count, because the network may be the cause. Ray decides
    in that case.
    """
    place = await asyncio.to_thread(_raylet_of, handle)
    if place is None or not await _refuses(*place):
        return False
    await asyncio.sleep(_ONCE_MORE_S)
    return await _refuses(*place)


def _raylet_of(handle: Any) -> tuple[str, int] | None:
    actor = ray._private.state.actors(handle._ray_actor_id.hex())
    node_id = (actor.get("Address") or {}).get("NodeID")
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return node["NodeManagerAddress"], node["NodeManagerPort"]
    return None


async def _refuses(address: str, port: int) -> bool:
    try:
        connecting = asyncio.open_connection(address, port)
        _, writer = await asyncio.wait_for(connecting, _CONNECT_S)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return False
