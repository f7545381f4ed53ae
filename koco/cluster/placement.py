"""Where a runner can run: the resources and labels it asks for, and the nodes that have them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from koco.sizes import MB

#: The resource that Ray counts in bytes and koco in MB.
_MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as Ray reports it: its resources, the free part of them, and its labels."""

    id: str
    address: str
    is_alive: bool
    resources: dict[str, float]
    free: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    #: Why it died; empty if it is alive or left as planned.
    death: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """The cluster: its versions, its nodes, and how it authenticates (`token` or `disabled`)."""

    version: str
    python: str
    nodes: list[Node]
    auth: str
    #: How often Ray has restarted the control plane.
    restarts: int


class Wants(Protocol):
    """The resources and labels that a process needs: a manifest's `runner`, for example."""

    @property
    def resources(self) -> dict[str, float]:
        """Amounts by resource; `memory_mb` is in MB."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """The label selectors of the node."""
        ...


def options(runner: Wants) -> dict[str, Any]:
    """Return the Ray options that place an actor as a manifest's `runner` asks."""
    custom = _resources(runner)
    found: dict[str, Any] = {"num_cpus": custom.pop("CPU", 0)}
    if "GPU" in custom:
        found["num_gpus"] = custom.pop("GPU")
    if _MEMORY in custom:
        found["memory"] = int(custom.pop(_MEMORY))
    if custom:
        found["resources"] = custom
    if runner.labels:
        found["label_selector"] = dict(runner.labels)
    return found


def misfit(runner: Wants, nodes: list[Node]) -> str | None:
    """Return why no node could take a runner even if it were idle, or None if one could."""
    return _why_not(runner, nodes, lambda node: node.resources, "has")


def busy(runner: Wants, nodes: list[Node]) -> str | None:
    """Return why no node can take a runner now, or None if one can."""
    return misfit(runner, nodes) or _why_not(runner, nodes, lambda node: node.free, "has free")


def _why_not(
    runner: Wants, nodes: list[Node], having: Callable[[Node], dict[str, float]], has: str
) -> str | None:
    alive = [node for node in nodes if node.is_alive]
    wanted, labels = _resources(runner), runner.labels
    for name, selector in labels.items():
        if not any(selects(selector, node.labels.get(name)) for node in alive):
            there = sorted({node.labels[name] for node in alive if name in node.labels})
            known = f"nodes have {', '.join(there)}" if there else "no node has that label"
            return f"no node has the label {name}: {selector} ({known})"
    for name, amount in wanted.items():
        most = max((having(node).get(name, 0) for node in alive), default=0)
        if most < amount:
            return f"no node {has} {sized(name, amount)} (the most is {sized(name, most)})"
    if any(_is_fit(node, wanted, labels, having(node)) for node in alive):
        return None
    asked = [sized(name, amount) for name, amount in wanted.items()]
    asked += [f"{name}: {selector}" for name, selector in labels.items()]
    return f"no single node {has} all of {', '.join(asked)}"


def _is_fit(
    node: Node, wanted: dict[str, float], labels: dict[str, str], having: dict[str, float]
) -> bool:
    return all(having.get(name, 0) >= amount for name, amount in wanted.items()) and all(
        selects(selector, node.labels.get(name)) for name, selector in labels.items()
    )


def selects(selector: str, value: str | None) -> bool:
    """Return whether a label selector (`a`, `!a`, `in(a, b)`, `!in(a, b)`) accepts a value."""
    plain = selector.removeprefix("!")
    inside = re.fullmatch(r"in\((.*)\)", plain)
    values = [each.strip() for each in inside[1].split(",")] if inside else [plain]
    return (value in values) != selector.startswith("!")


def _resources(runner: Wants) -> dict[str, float]:
    """Return the requested amounts by Ray's resource names, with memory in bytes."""
    wanted = dict(runner.resources)
    if "memory_mb" in wanted:
        wanted[_MEMORY] = wanted.pop("memory_mb") * MB
    return wanted


def sized(name: str, amount: float) -> str:
    """Return an amount of a resource as text."""
    return f"{amount / MB:.0f} MB of memory" if name == _MEMORY else f"{amount:g} {name}"
