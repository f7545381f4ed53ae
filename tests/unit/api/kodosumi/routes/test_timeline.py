"""The timeline: pages, searches and changes of the caller's own executions."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.api.kodosumi.routes import timeline
from koco.api.kodosumi.shapes import records
from koco.events.model import Status
from tests.support.api_server import Api
from tests.support.kodosumi_api import client_of, execute, serving_kodosumi
from tests.support.kodosumi_client import KodosumiClient


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving_kodosumi(tmp_path / "data") as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[KodosumiClient]:
    with client_of(api) as client:
        yield client


def fids(items: list[dict[str, Any]]) -> list[str]:
    return [each["fid"] for each in items]


def test_executions_are_listed_in_pages(api: Api, client: KodosumiClient) -> None:
    """The caller's own only, newest first; `offset` is null at the end."""
    mine = [execute(api) for _ in range(5)][::-1]
    execute(api, user="bob")
    seen: list[str] = []
    offset: dict[str, Any] = {}
    while True:
        page = client.get("/timeline/list", pp=2, **offset)
        seen += fids(page["items"])
        if page["offset"] is None:
            break
        offset = {"offset": page["offset"]}
    assert seen == mine
    with client_of(api, "dora") as admin:
        assert admin.get("/timeline/list")["items"] == []
    record = page["items"][0]
    assert record["runtime"] >= 0
    assert record["startup"] <= record["finish"]
    for name in ("startup", "finish", "runtime"):
        record.pop(name)
    assert record == {
        "fid": mine[-1],
        "tags": ["hello"],
        "summary": "Greeter",
        "inputs": {"dict": {"who": "Bo"}},
        "status": "finished",
        "locks": [],
    }


def test_executions_are_found(api: Api, client: KodosumiClient) -> None:
    """By metadata, inputs and status as Kodosumi reads them, and by the words of their results."""
    one = execute(api, final="a needle here")
    two = execute(api, inputs={"who": "Zebra"}, tags=("x",))
    three = execute(api, ends=False)
    for q, found in {
        "zebra": [two],
        "tag:x": [two],
        "status:running": [three],
        "LOVELACE": [three, two, one],
        "needle": [one],
        f"fid:{one}": [one],
        "nothing of it": [],
        '"': [],
    }.items():
        assert fids(client.get("/timeline/list", q=q)["items"]) == found, q


def test_changes_are_listed_since_a_time(api: Api, client: KodosumiClient) -> None:
    """Each execution once; deleted ones by their fids; nothing twice."""
    execute(api)
    begin = client.get("/timeline/changes")
    assert (begin["update"], begin["delete"]) == ([], [])
    assert abs(begin["timestamp"] - time.time()) < 60
    assert client.get("/timeline/changes", since=begin["timestamp"])["update"] == []
    one, two = execute(api), execute(api, ends=False)
    execute(api, user="bob")
    found = client.get("/timeline/changes", since=begin["timestamp"])
    assert fids(found["update"]) == [one, two]
    api.call(api.parts.store.executions.delete(one))
    lock = api.parts.store.locks.open(two, "lid3", name="review", data=None, expires=9e9)
    api.call(lock)
    later = client.get("/timeline/changes", since=found["timestamp"])
    assert (fids(later["update"]), later["delete"]) == ([two], [one])
    assert (later["update"][0]["status"], later["update"][0]["locks"]) == ("awaiting", ["lid3"])
    assert client.get("/timeline/changes", since=later["timestamp"])["update"] == []
    # A time that is older than all looks, as after a restart: everything since then.
    assert set(fids(client.get("/timeline/changes", since=time.time() - 60)["update"])) >= {two}


def test_the_panels_timeline_has_pages_and_news_in_one(api: Api, client: KodosumiClient) -> None:
    """What is new, what has changed and what is gone since `timestamp`, beside the next page."""
    first, second = execute(api), execute(api, ends=False)
    assert client.get("/timeline", pp=10)["total"] == 2  # an open one counts once
    page = client.get("/timeline", pp=1)
    assert page["total"] == 1
    assert fids(page["items"]["append"]) == [second]
    assert (page["origin"], page["offset"]) == (second, second)
    third = execute(api)
    api.call(api.parts.store.executions.settle(second, Status.CANCELLED))
    news = client.get(
        "/timeline", mode="update", origin=page["origin"], timestamp=page["timestamp"]
    )
    assert fids(news["items"]["insert"]) == [third]
    assert fids(news["items"]["update"]) == [second]
    assert news["items"]["append"] == []
    assert news["origin"] == third
    rest = client.get("/timeline", pp=5, offset=page["offset"], timestamp=news["timestamp"])
    assert fids(rest["items"]["append"]) == [first]
    assert rest["offset"] is None


@pytest.mark.parametrize("query", ["pp=0", "pp=1001", "offset=nothing", "since=x", "mode=other"])
def test_wrong_parameters_are_refused(client: KodosumiClient, query: str) -> None:
    """400, or 404 for an offset that is gone."""
    path = "/timeline/changes" if "since" in query else "/timeline/list"
    path = "/timeline" if "mode" in query else path
    assert client.http.get(f"{path}?{query}").status_code in (400, 404)


def test_the_total_counts_each_execution_once(api: Api, client: KodosumiClient) -> None:
    """Those that have not ended, too."""
    for ends in (True, False, True):
        execute(api, ends=ends)
    page = client.get("/timeline")
    assert (page["total"], len(page["items"]["append"])) == (3, 3)


def test_a_search_that_takes_long_goes_on_in_the_next_request(
    api: Api, client: KodosumiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a page of the store, too, because large inputs take long."""
    monkeypatch.setattr(timeline, "_SEARCH_S", 0.0)
    made = [execute(api, inputs={"who": who}) for who in ("zebra", "Bo", "zebra")][::-1]
    seen: list[str] = []
    offset: dict[str, Any] = {}
    requests = 0
    while True:
        page = client.get("/timeline/list", q="zebra", **offset)
        requests += 1
        seen += fids(page["items"])
        if page["offset"] is None:
            break
        offset = {"offset": page["offset"]}
    assert (seen, requests) == ([made[0], made[2]], 3)


@pytest.mark.parametrize("path", ["/timeline/list", "/timeline/changes"])
def test_large_inputs_are_searched_beside_the_loop(
    api: Api, client: KodosumiClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones at once."""
    threads: list[str] = []
    matches = records.matches

    def noted(*args: Any) -> bool:
        threads.append(threading.current_thread().name)
        return matches(*args)

    monkeypatch.setattr(records, "matches", noted)
    fid = execute(api, inputs={"who": "x" * 200_000 + "zebra"})
    since = {"since": time.time() - 60} if "changes" in path else {}
    page = client.get(path, q="zebra", **since)
    assert fids(page.get("items", page.get("update"))) == [fid]
    assert threads == ["koco-checks_0"]
