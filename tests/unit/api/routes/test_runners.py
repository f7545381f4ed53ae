"""The route of runners over a real socket."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.cluster.node_processes import NodeSilent, Sighting
from koco.control.runners.worker import Runner
from tests.support.api_server import Api, serving
from tests.support.whole_api import complete


class Process:
    """A runner's process, as its node sees it; None if the node is silent."""

    node = "n1"

    def __init__(self, seen: Sighting | None) -> None:
        self._seen = seen

    async def look(self) -> Sighting | None:
        if self._seen is None:
            raise NodeSilent("no answer")
        return self._seen


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        api.call(complete(api))
        api.admit("narrow", "read", flows=("other/*",))

        async def start() -> None:
            busy = Process(Sighting(state="S", at=1.0, cpu_s=2.5, rss_bytes=1000))
            parts: Any = api.parts
            parts.supervisor.pools["svc", 2] = SimpleNamespace(
                runners={
                    "a": Runner("a", busy, {"f1"}, served=3, is_ready=True),  # type: ignore[arg-type]
                    "b": Runner("b", Process(None), is_ready=True, is_leaving=True),  # type: ignore[arg-type]
                    "c": Runner("c", busy),  # type: ignore[arg-type]
                }
            )

        api.call(start())
        yield api
        api.parts.supervisor.pools.clear()


def test_tells_what_each_runner_uses(api: Api) -> None:
    """Null where its node does not answer, or the process is not there yet."""
    with api.http() as client:
        found = client.get("/v1/runners").json()
    assert found["next"] is None
    first, second, third = found["items"]
    assert first == {
        **{"service": "svc", "release": 2, "id": "a", "node": "n1", "status": "ready"},
        **{"running": 1, "served": 3, "cpu_s": 2.5, "memory_bytes": 1000},
    }
    assert (second["status"], second["cpu_s"], second["memory_bytes"]) == ("leaving", None, None)
    assert (third["status"], third["cpu_s"]) == ("starting", None)


def test_the_list_has_pages(api: Api) -> None:
    """By service, release and id."""
    with api.http() as client:
        first = client.get("/v1/runners", params={"limit": 2}).json()
        rest = client.get("/v1/runners", params={"limit": 2, "cursor": first["next"]}).json()
    assert [each["id"] for each in first["items"]] == ["a", "b"]
    assert ([each["id"] for each in rest["items"]], rest["next"]) == (["c"], None)


def test_shows_only_services_that_the_caller_may_see(api: Api) -> None:
    """A key that is limited to other flows sees none of these runners."""
    with api.http("narrow") as client:
        assert client.get("/v1/runners").json()["items"] == []
