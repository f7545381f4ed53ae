"""The route of usage, over a real socket."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.events.model import Status
from tests.support.api_server import Api, serving


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("dora", "admin")
        for user, flow, statuses in (
            ("ada", "svc/flow", ("finished", "finished", "error", None)),
            ("bob", "svc/other", ("finished",)),
        ):
            for status in statuses:
                make(api, user, flow, status)
        yield api


def make(api: Api, user: str, flow: str, status: str | None) -> None:
    api.execution(Status(status) if status else None, flow=flow, user=user)


def usage(api: Api, key: str = "dora", **params: Any) -> list[dict[str, Any]]:
    with api.http(key) as client:
        answer = client.get("/v1/usage", params=params)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


def test_counts_by_flow_and_status_by_default(api: Api) -> None:
    """A group has only the members by which it is grouped."""
    rows = usage(api)
    assert [(each["flow"], each["status"], each["executions"]) for each in rows] == [
        ("svc/flow", "error", 1),
        ("svc/flow", "finished", 2),
        ("svc/flow", "queued", 1),
        ("svc/other", "finished", 1),
    ]
    assert {"day", "user"} & rows[0].keys() == set()
    assert rows[0].keys() > {"duration_s", "p50_s", "p95_s", "event_bytes", "file_bytes"}


def test_groups_by_any_of_the_columns(api: Api) -> None:
    """In whatever order they are named."""
    [today] = usage(api, by="day")
    assert (today["executions"], len(today["day"])) == (5, 10)
    assert [(each["day"], each["user"]) for each in usage(api, by="user,day")] == [
        (today["day"], "ada"),
        (today["day"], "bob"),
    ]


def test_filters_and_pages(api: Api) -> None:
    [row] = usage(api, flow="svc/flow", status="finished", user="ada", since="1h")
    assert row["executions"] == 2
    assert usage(api, until="24h") == []
    assert usage(api, since="2999-01-01T00:00:00Z") == []
    with api.http("dora") as client:
        page = client.get("/v1/usage?limit=3").json()
        rest = client.get("/v1/usage", params={"limit": 3, "cursor": page["next"]}).json()
        assert (len(page["items"]), len(rest["items"]), rest["next"]) == (3, 1, None)


def test_a_key_counts_what_it_sees(api: Api) -> None:
    """Its own executions only, unless it may see all."""
    assert [each["flow"] for each in usage(api, "bob")] == ["svc/other"]
    assert usage(api, "bob", user="ada") == []


@pytest.mark.parametrize(
    "query", ["by=x", "by=", "by=day;drop", "status=done", "since=x", "cursor=x", "limit=0", "to=1"]
)
def test_refuses_odd_parameters(api: Api, query: str) -> None:
    with api.http("dora") as client:
        assert client.get(f"/v1/usage?{query}").status_code == 400
