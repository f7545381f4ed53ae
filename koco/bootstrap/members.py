"""The other processes of a control plane: started by `koco up`, each on a node of its own."""

import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from koco.control.members import missing, places
from koco.control.start import Start
from koco.sdk.process import control_client

#: How long `koco up` waits for them (seconds). They go on starting after that.
_READY_S = 30.0


def start(start: Start, generation: int, make: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Start the members that are missing, and end those that are too many.

    `make` starts the actor of a member by its number. Returns `{name, url, error}` of each. Those
    that no node has room for start once there is one.
    """
    for (_, number), handle in control_client.find_members().items():
        if number >= start.api:
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)
    made = {number: make(number) for number in range(1, start.api)}
    ready = {number: each.ready.remote() for number, each in made.items()}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if count := min(len(ready), missing.room_for_members(start, nodes)):
        ray.wait(list(ready.values()), num_returns=count, timeout=_READY_S)
    waits = missing.without_place(start, nodes)
    return [
        {"name": control_client.member(generation, number), **_outcome(ref, waits)}
        for number, ref in ready.items()
    ]


def options(start: Start, generation: int, number: int) -> dict[str, Any]:
    """Return the options of a member's actor: its name, and the node that suits it best.

    That is another one than the head, and than those of other members. It moves if its node dies.
    With `Start.api_on`, it takes one of that resource instead, and waits for a node with it.
    """
    named: dict[str, Any] = {"name": control_client.member(generation, number)}
    if start.api_on:
        return {**named, "resources": {start.api_on: 1}, "scheduling_strategy": "SPREAD"}
    nodes = [node for node in ray.nodes() if node["Alive"]]
    head = "node:__internal_head__"
    others = sorted(node["NodeID"] for node in nodes if head not in node["Resources"])
    if others:
        chosen = others[(number - 1) % len(others)]
        named["scheduling_strategy"] = NodeAffinitySchedulingStrategy(chosen, soft=True)
    return named


def _outcome(ready: Any, waits: str) -> dict[str, str]:
    """Return where a member is, or why it is not ready; `waits` is why some have no node."""
    try:
        started = msgspec.convert(ray.get(ready, timeout=0.1)["start"], Start)
    except GetTimeoutError:
        return {"url": "", "error": waits or f"it does not answer after {_READY_S:g} s"}
    except Exception as exc:  # noqa: BLE001 - whatever its process raises
        error = str(getattr(exc, "cause", None) or exc).strip().splitlines()[-1]
        return {"url": "", "error": error}
    node = urlsplit(started.node_url).hostname or started.host
    return {"url": places.api_url(started, node=node), "error": ""}
