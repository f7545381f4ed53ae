"""Where a service's runners can run, among the nodes that there are."""

from typing import TYPE_CHECKING, Any

from koco.cluster import placement

if TYPE_CHECKING:
    from koco.control.checks import Finding
    from koco.control.parts import Parts

_HINT = "runners wait until a node has it: start one, or does the cluster's autoscaler?"


async def warn(parts: "Parts", manifest: dict[str, Any]) -> "list[Finding]":
    """Return why no node could take a runner. It is no mistake: there may be one soon."""
    runner = manifest["runner"]
    if not (runner.get("resources") or runner.get("labels")):
        return []
    why = placement.misfit(runner, await parts.cluster.nodes())
    return [{"message": why, "hint": _HINT, "path": ["runner"]}] if why else []
