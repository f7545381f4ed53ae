"""The routes of limits over a real socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import Api, serving
from tests.support.whole_api import complete


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        api.admit("dan", "deploy")
        api.call(complete(api))
        yield api


def test_an_override_stands_beside_what_the_manifest_says(api: Api) -> None:
    """Null is no limit, an absent one stays. The flow shows what counts."""
    with api.http("dan") as client:
        [flow] = client.get("/v1/flows").json()["items"]
        short = flow["name"].partition("/")[2]
        state = client.patch(f"/v1/limits/{short}", json={"running": 5}).json()
        assert (state["flow"], state["running"], state["queue"]) == (flow["name"], 5, None)
        assert state["manifest"] == {"running": None, "queue": None}
        override = state["override"]
        assert (override["by"], override["until_deploy"], override["running"]) == ("dan", False, 5)
        assert "queue" not in override
        assert client.get(f"/v1/flows/{short}").json()["limits"]["running"] == 5
        assert client.get("/v1/limits").json()["items"] == [state]
        client.patch(f"/v1/limits/{short}", json={"queue": 0, "until_deploy": True})
        [state] = client.get("/v1/limits").json()["items"]
        assert (state["running"], state["queue"]) == (5, 0)
        assert state["override"]["until_deploy"] is True
        state = client.delete(f"/v1/limits/{short}").json()
        assert (state["running"], state["queue"], state["override"]) == (None, None, None)


def test_refuses_what_is_no_limit(api: Api) -> None:
    """And callers who may not deploy."""
    with api.http("dan") as client:
        for body in ({}, {"running": -1}, {"running": 1.5}, {"runing": 1}):
            assert client.patch("/v1/limits/flow", json=body).status_code == 400, body
        assert client.patch("/v1/limits/missing", json={"running": 1}).status_code == 404
    with api.http("ada") as client:
        assert client.patch("/v1/limits/flow", json={"running": 1}).status_code == 403
