"""What a release waits for: what is free, who holds the rest, and whether that is in vain."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster.placement import Node
from koco.cluster.resource_holders import Holder, holder_of
from koco.cluster.serve_failures import Request, missing_requests
from koco.control.deploy.cluster_room import NoPlace, Room
from tests.support.releases import manifest

REPLICA = "SERVE_REPLICA::koco-other-1#Front#x1"
RELEASE: Any = SimpleNamespace(service="svc", number=2, manifest=manifest())


def deployment(*, running: int, wanted: int, **options: Any) -> dict[str, Any]:
    states = ["RUNNING"] * running + ["STARTING"] * (wanted - running)
    return {
        "replicas": [{"state": state} for state in states],
        "target_num_replicas": wanted,
        "deployment_config": {"ray_actor_options": options},
    }


def room(holders: list[Holder], *, cpus: float = 2, free: float = 0, **more: Any) -> Room:
    """A cluster of one node, and an endpoint that asks for one CPU there."""
    wants = {"koco-svc-2": [Request("0 of 1 replicas of Front run", {"CPU": 1}, {})]}
    pools = {
        ("p", 1): SimpleNamespace(runners={"r": SimpleNamespace(running={"fid1"})}, is_live=True)
    }

    async def look() -> list[Any]:
        return [Node("n", "a", True, {"CPU": cpus}, {"CPU": free})]

    async def who() -> list[Holder]:
        return holders

    serve: Any = SimpleNamespace(requests=wants, ours={"koco-svc-2"})
    supervisor: Any = SimpleNamespace(pools=pools)
    kept: Any = SimpleNamespace(look=who)
    more.setdefault("can_grow", lambda: False)
    return Room(serve, supervisor, holders=kept, look=look, **more)


STAYS = Holder("the replica Front of koco-other-1", "n", {"CPU": 2}, application="koco-other-1")
ENDS = Holder("a runner of p/1", "n", {"CPU": 1}, runner=("p", 1, "r"))


def test_names_the_holders_of_missing_resources() -> None:
    """With the executions in a runner. Nothing is named if there is room."""
    said = asyncio.run(room([ENDS, STAYS]).waits_for(RELEASE))
    assert said == (
        "0 of 1 replicas of Front run: no node has free 1 CPU (the most is 0 CPU); held by"
        " the replica Front of koco-other-1 (2 CPU), a runner of p/1 which runs fid1 (1 CPU)"
    )
    assert asyncio.run(room([STAYS], free=1).waits_for(RELEASE)) is None


def test_a_release_fails_if_only_replicas_hold_its_resources() -> None:
    """Executions end and give theirs back, and an autoscaler starts nodes."""
    with pytest.raises(NoPlace, match=r"no node has room for its endpoint: 0 of 1 .* held by"):
        asyncio.run(room([STAYS]).check(RELEASE))
    asyncio.run(room([ENDS]).check(RELEASE))
    asyncio.run(room([STAYS], can_grow=lambda: True).check(RELEASE))
    asyncio.run(room([STAYS], free=1).check(RELEASE))


def test_a_release_fails_if_no_node_is_large_enough() -> None:
    """Because nothing that ends would help."""
    with pytest.raises(NoPlace, match=r"no node has 1 CPU \(the most is 0\.5 CPU\)"):
        asyncio.run(room([], cpus=0.5).check(RELEASE))


def test_describes_holders_from_rays_entries() -> None:
    """Replicas, runners and tasks. Without a request, nothing is held."""
    replica = holder_of({"name": REPLICA, "node_id": "n", "required_resources": {"CPU": 1.0}})
    assert replica.name == "the replica Front of koco-other-1"
    assert replica.application == "koco-other-1"
    runner = holder_of({"name": "runner:svc:3:ab", "required_resources": {"GPU": 1}})
    assert (runner.runner, runner.resources) == (("svc", 3, "ab"), {"GPU": 1})
    task = holder_of({"name": "count", "required_resources": {"CPU": 1, "node:x": 0.1}})
    assert (task.name, task.resources) == ("the Ray task count", {"CPU": 1})
    assert holder_of({"name": "idle", "class_name": "A", "actor_id": "a"}).resources == {}


def test_reads_the_requests_of_missing_replicas_from_serve() -> None:
    """Not of running ones, and not of those that request nothing."""
    found = {
        "deployments": {
            "Waits": deployment(running=1, wanted=2, num_cpus=1, memory=5),
            "Runs": deployment(running=1, wanted=1, num_cpus=1),
            "Light": deployment(running=0, wanted=1, num_cpus=0),
        }
    }
    [one] = missing_requests(found)
    assert one.text.startswith("1 of 2 replicas of Waits run; each asks for 1 CPU")
    assert one.resources == {"CPU": 1, "memory": 5}
