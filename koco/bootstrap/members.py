"""The other processes of a control plane: started by `koco up`, each on a node of its own."""

import contextlib
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from koco.control.start import Start
from koco.sdk.process import control_client

#: How long `koco up` waits for them (seconds). They go on starting after that.
_READY_S = 30.0


def start(start: Start, make: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Start the members that are missing, and end those that are too many.

    `make` starts the actor of a member by its number. Returns `{name, error}` of each.
    """
    for (_, number), handle in control_client.find_members().items():
        if number >= start.api:
            with contextlib.suppress(RayError):
                ray.kill(handle, no_restart=True)
    made = {number: make(number) for number in range(1, start.api)}
    ready = {number: each.ready.remote() for number, each in made.items()}
    if ready:
        ray.wait(list(ready.values()), num_returns=len(ready), timeout=_READY_S)
    return [{"name": f"{number}", "error": _error(ref)} for number, ref in ready.items()]


def options(generation: int, number: int) -> dict[str, Any]:
    """Return the options of a member's actor: its name, and the node that suits it best.

    That is another one than the head, and than those of other members. It moves if its node dies.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    head = "node:__internal_head__"
    others = sorted(node["NodeID"] for node in nodes if head not in node["Resources"])
    named: dict[str, Any] = {"name": control_client.member(generation, number)}
    if others:
        chosen = others[(number - 1) % len(others)]
        named["scheduling_strategy"] = NodeAffinitySchedulingStrategy(chosen, soft=True)
    return named


def _error(ready: Any) -> str:
    """Return why a member is not ready, or nothing if it is."""
    try:
        ray.get(ready, timeout=0.1)
    except GetTimeoutError:
        return f"it does not answer after {_READY_S:g} s"
    except Exception as exc:  # noqa: BLE001 - whatever its process raises
        return str(getattr(exc, "cause", None) or exc).strip().splitlines()[-1]
    return ""
