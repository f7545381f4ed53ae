"""The routes of flows and their tags, over a real socket."""

from collections.abc import Iterator
from typing import Any

import pytest

from koco.control.services.catalog import Catalog
from koco.manifest.descriptions import FlowHints
from tests.support.api_server import Api, serving
from tests.support.releases import flow, manifest

FLOWS = (
    flow("invoice", tags=("money", "monthly"), summary="Writes invoices", author="Ada Lovelace"),
    flow("report", tags=("monthly",), description="A *Report* for the board"),
    flow("hymn", output={"type": "string"}, hints=FlowHints(idempotent=True), expose=("a2a",)),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        store = api.parts.store
        invoice = {"name": "invoice", "entrypoint": "m:f", "durable": True}
        declared = manifest(service="office", flows=[invoice], calls=["bank/*"])
        release = api.call(
            store.releases.create("office", bundle="", fingerprint="", manifest=declared, by="ada")
        )
        api.parts.catalog = Catalog()
        api.parts.catalog.put(api.call(store.releases.go_live("office", release.number, FLOWS)))
        api.admit("reports", "read", flows=("office/report",))
        yield api


def items(api: Api, path: str, key: str = "ada", **params: Any) -> list[dict[str, Any]]:
    with api.http(key) as client:
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


def names(api: Api, **params: Any) -> list[str]:
    return [each["name"].partition("/")[2] for each in items(api, "/v1/flows", **params)]


def test_lists_tags_with_their_numbers_of_flows(api: Api) -> None:
    """By name, in pages."""
    assert items(api, "/v1/tags") == [
        {"name": "money", "flows": 1},
        {"name": "monthly", "flows": 2},
    ]
    with api.http("ada") as client:
        page = client.get("/v1/tags?limit=1").json()
        rest = client.get("/v1/tags", params={"cursor": page["next"]}).json()
    assert [each["name"] for each in page["items"] + rest["items"]] == ["money", "monthly"]


def test_counts_only_flows_that_the_key_may_see(api: Api) -> None:
    """A tag that only other flows have is not listed."""
    assert items(api, "/v1/tags", "reports") == [{"name": "monthly", "flows": 1}]


def test_filters_flows_by_tags_and_words(api: Api) -> None:
    """All must match, in any case, wherever the author put them."""
    assert names(api, tag="monthly") == ["invoice", "report"]
    assert names(api, tag=["monthly", "money"]) == ["invoice"]
    assert names(api, tag="none") == []
    assert names(api, q="BOARD") == ["report"]
    assert names(api, q="ada  writes") == ["invoice"]
    assert names(api, q="office mon") == ["invoice", "report"]
    assert names(api, q="report", tag="money") == []
    assert names(api, q=" ") == ["hymn", "invoice", "report"]


def test_flows_are_listed_with_their_tags(api: Api) -> None:
    assert [each["tags"] for each in items(api, "/v1/flows")] == [
        [],
        ["money", "monthly"],
        ["monthly"],
    ]


def test_refuses_an_endless_search(api: Api) -> None:
    with api.http("ada") as client:
        assert client.get("/v1/flows", params={"q": "x" * 1001}).status_code == 400


def test_a_flow_says_whether_it_is_durable_and_what_it_calls(api: Api) -> None:
    """Operators have no manifest at hand."""
    durable = {each["name"]: each["durable"] for each in items(api, "/v1/flows")}
    assert durable == {"office/hymn": False, "office/invoice": True, "office/report": False}
    with api.http("ada") as client:
        found = client.get("/v1/flows/office/invoice").json()
    assert (found["durable"], found["calls"]) == (True, ["bank/*"])


def test_a_flow_says_what_its_author_tells_agents(api: Api) -> None:
    """Its result's schema, hints, examples, and the protocols over which they may call it."""
    with api.http("ada") as client:
        hymn, report = (
            client.get(f"/v1/flows/office/{each}").json() for each in ("hymn", "report")
        )
    assert (hymn["output"], hymn["expose"], hymn["examples"]) == ({"type": "string"}, ["a2a"], [])
    assert hymn["hints"]["idempotent"] is True
    assert (report["output"], report["expose"]) == (None, ["mcp", "a2a"])
