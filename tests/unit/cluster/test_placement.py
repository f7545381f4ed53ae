"""Where runners can run: what is asked of Ray, and what is said where no node has it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster.placement import Node, busy, misfit, options, selects
from koco.control.health import problems
from koco.manifest.model import Runner
from tests.support.releases import manifest

GB = 1024**3
NODES = [
    Node("a", "10.0.0.1", True, {"CPU": 4, "memory": 8 * GB}, {"CPU": 1, "memory": GB}),
    Node("b", "10.0.0.2", True, {"CPU": 2, "GPU": 1, "x": 3}, {"CPU": 2, "GPU": 0.5, "x": 3}),
    Node("c", "10.0.0.3", False, {"CPU": 64, "GPU": 8}, {"CPU": 64}, {"zone": "c"}),
    Node("d", "10.0.0.4", True, {"CPU": 1}, {"CPU": 1}, {"zone": "a", "ray.io/market": "spot"}),
]


def test_translates_a_runner_into_rays_options() -> None:
    """With Ray's names. Nothing is reserved by default."""
    asked = {"CPU": 1.0, "GPU": 0.5, "memory_mb": 512.0, "license": 2.0}
    assert options(Runner(resources=asked, labels={"zone": "!a"})) == {
        "num_cpus": 1.0,
        "num_gpus": 0.5,
        "memory": 512 * 1024 * 1024,
        "resources": {"license": 2.0},
        "label_selector": {"zone": "!a"},
    }
    assert options(Runner()) == {"num_cpus": 0}
    assert asked["CPU"] == 1.0, "the release's manifest is not to be touched"


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ({}, None),
        ({"resources": {"CPU": 4}}, None),
        ({"resources": {"CPU": 5}}, "no node has 5 CPU (the most is 4 CPU)"),
        ({"resources": {"GPU": 4}}, "no node has 4 GPU (the most is 1 GPU)"),
        ({"resources": {"y": 1}}, "no node has 1 y (the most is 0 y)"),
        ({"resources": {"memory_mb": 8192}}, None),
        (
            {"resources": {"memory_mb": 9000}},
            "no node has 9000 MB of memory (the most is 8192 MB of memory)",
        ),
        ({"resources": {"CPU": 4, "GPU": 1}}, "no single node has all of 4 CPU, 1 GPU"),
        ({"labels": {"zone": "in(a, b)"}}, None),
        ({"labels": {"zone": "c"}}, "no node has the label zone: c (nodes have a)"),
        ({"labels": {"rack": "1"}}, "no node has the label rack: 1 (no node has that label)"),
        (
            {"resources": {"CPU": 2}, "labels": {"zone": "a"}},
            "no single node has all of 2 CPU, zone: a",
        ),
    ],
)
def test_says_why_no_node_could_take_a_runner(runner: dict[str, Any], said: str | None) -> None:
    """A missing resource, or no node with all at once. Dead nodes do not count."""
    assert misfit(Runner(**runner), NODES) == said


def test_says_why_no_node_can_take_a_runner_now() -> None:
    """Used resources if a node has them, or else that none has."""
    assert busy(Runner(resources={"CPU": 2}), NODES) is None
    assert busy(Runner(resources={"CPU": 4}), NODES) == "no node has free 4 CPU (the most is 2 CPU)"
    assert busy(Runner(resources={"CPU": 9}), NODES) == "no node has 9 CPU (the most is 4 CPU)"


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ("a", ["a"]),
        ("!a", ["b", "c", None]),
        ("in(a, b)", ["a", "b"]),
        ("in(a,b)", ["a", "b"]),
        ("!in(a, b)", ["c", None]),
    ],
)
def test_selectors_match_like_rays(selector: str, taken: list[str | None]) -> None:
    """A node without the label does not have the excluded value."""
    assert [value for value in ("a", "b", "c", None) if selects(selector, value)] == taken


def test_a_status_names_services_without_a_node() -> None:
    """Only those with starting runners. For others, nodes are not asked."""

    class Cluster:
        asked = 0

        async def nodes(self) -> list[Node]:
            self.asked += 1
            return NODES

    cluster = Cluster()
    pools = {("a", 1): SimpleNamespace(is_starting=True), ("b", 1): SimpleNamespace(is_starting=0)}
    parts: Any = SimpleNamespace(supervisor=SimpleNamespace(pools=pools), cluster=cluster)

    def unplaced(*names: str, runner: dict[str, Any]) -> dict[str, str]:
        declared = manifest(runner=runner)
        live: Any = [SimpleNamespace(service=n, number=1, manifest=declared) for n in names]
        return asyncio.run(problems.unplaced(parts, live))

    greedy = {"resources": {"GPU": 4}}
    said = "runners cannot be placed: no node has 4 GPU (the most is 1 GPU)"
    assert unplaced("b", "c", runner=greedy) == {}
    assert cluster.asked == 0
    assert unplaced("a", "b", runner=greedy) == {"a": said}
    assert unplaced("a", runner={"resources": {"GPU": 1}}) == {}
