"""Lists, changes, retries and deletion of executions, over a real socket."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from koco.control.executions.launcher import Launches
from koco.control.services.catalog import Catalog
from koco.errors import InputsError
from koco.events.model import Status
from koco.store.model import Answer, FailureEvent, File, NewFile, Policy
from tests.support.api_server import Api, serving
from tests.support.releases import flow, manifest

FORM = [
    {"type": "text", "name": "who", "label": "Who", "required": True},
    {"type": "password", "name": "token", "label": "Token"},
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("dora", "admin")
        yield api


def make(api: Api, *, ended: bool = True, **more: Any) -> str:
    fid = api.execution(Status.CANCELLED if ended else None, **more)
    if ended:
        api.parts.spooler.wake(fid)
    return fid


def listed(api: Api, key: str = "dora", **params: Any) -> list[str]:
    with api.http(key) as client:
        answer = client.get("/v1/executions", params=params)
        assert answer.status_code == 200, answer.text
        return [each["fid"] for each in answer.json()["items"]]


def test_an_execution_says_whether_it_is_durable(api: Api) -> None:
    """That is as it was at its launch, whatever the flow's manifest says now."""
    for durable in (False, True):
        fid = make(api, policy=Policy(durable=durable))
        with api.http("dora") as client:
            assert client.get(f"/v1/executions/{fid}").json()["durable"] is durable


def test_a_list_shows_executions_as_they_are_alone(api: Api) -> None:
    """However often they were listed before they ended, and since."""
    fid = make(api, user="zoe", ended=False, tags=("t",), hidden=("pin",), inputs={"pin": "1"})
    with api.http("dora") as client:

        def listed_and_shown() -> list[dict[str, Any]]:
            [item] = client.get("/v1/executions?user=zoe").json()["items"]
            return [item, client.get(f"/v1/executions/{fid}").json()]

        item, shown = listed_and_shown()
        assert item == shown
        assert item["status"] == "queued"
        api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
        for _ in range(3):
            item, shown = listed_and_shown()
            assert item == shown
            assert item["status"] == "cancelled"
        assert client.get("/v1/executions?user=zoe&fields=fid").json()["items"] == [{"fid": fid}]
        assert client.delete(f"/v1/executions/{fid}").status_code == 204
        assert client.get("/v1/executions?user=zoe").json()["items"] == []


def test_filters_are_combined(api: Api) -> None:
    """Each alone and all together. `complete` says whether a search covered everything."""
    fid = make(api, user="eve", tags=("a", "b"), inputs={"topic": "zebra crossing"})
    other = make(api, user="eve", tags=("a",), inputs={"topic": "crossing"}, ended=False)
    assert listed(api, user="eve") == [other, fid]
    assert listed(api, user="eve", tag="a") == [other, fid]
    assert listed(api, tag=["a", "b"]) == [fid]
    assert listed(api, search="zebra") == [fid]
    assert listed(api, search='"zebra crossing"', status="cancelled", since="1h") == [fid]
    assert listed(api, user="eve", active="1", service="svc") == [other]
    assert listed(api, user="eve", until="2020-01-01") == []
    assert listed(api, "bob", user="eve") == []
    with api.http("dora") as client:
        assert client.get("/v1/executions?search=zebra").json()["complete"] is True
        assert "complete" not in client.get("/v1/executions").json()


@pytest.mark.parametrize("text", ["'", '"', "%", "*", "a;--", "NEAR(", "\\", "\0", "ümlaut*", "{"])
def test_odd_texts_in_filters_are_harmless(api: Api, text: str) -> None:
    """Each filter returns an empty list, or an error that explains it."""
    with api.http("dora") as client:
        for name in ("flow", "service", "user", "tag", "search", "status", "since", "cursor"):
            value = f"svc/{text}" if name == "flow" else text
            answer = client.get("/v1/executions", params={name: value})
            assert answer.status_code in (200, 400), (name, answer.text)
            if answer.status_code == 200:
                assert answer.json()["items"] == []


def test_changes_come_in_order_and_each_execution_once(api: Api) -> None:
    """A page's cursor stays valid, and deletions are listed."""
    with api.http("dora") as client:
        since = client.get("/v1/changes?since=now").json()["next"]
        first, second = make(api, ended=False), make(api)
        api.call(api.parts.store.executions.settle(first, Status.CANCELLED))
        page = client.get("/v1/changes", params={"since": since, "limit": 1}).json()
        assert [each["fid"] for each in page["items"]] == [second]
        page = client.get("/v1/changes", params={"since": page["next"]}).json()
        assert [(e["fid"], e["execution"]["status"]) for e in page["items"]] == [
            (first, "cancelled")
        ]
        assert client.delete(f"/v1/executions/{second}").status_code == 204
        page = client.get("/v1/changes", params={"since": page["next"]}).json()
        [gone] = page["items"]
        assert (gone["fid"], gone["deleted"], gone["execution"]) == (second, True, None)
        assert client.get("/v1/changes?since=x").status_code == 400


def test_changes_can_be_awaited(api: Api) -> None:
    """The answer comes with the change, or empty when the time is over."""
    with api.http("dora") as client:
        since = client.get("/v1/changes?since=now").json()["next"]
        page = client.get("/v1/changes", params={"since": since, "wait": "0.05"}).json()
        assert (page["items"], page["next"]) == ([], since)
        threading.Timer(0.1, make, (api,)).start()
        page = client.get("/v1/changes", params={"since": since, "wait": "15"}).json()
        assert len(page["items"]) == 1
        assert client.get("/v1/changes?wait=61").status_code == 400


def test_changes_can_be_followed(api: Api) -> None:
    """As lines, and as server-sent events that continue after the last known one."""
    with api.http("dora") as client:
        since = client.get("/v1/changes?since=now").json()["next"]
        fids = [make(api), make(api)]
        with client.stream("GET", f"/v1/changes?since={since}&follow=1") as answer:
            lines = (json.loads(text) for text in answer.iter_lines() if text)
            seen = [next(lines), next(lines)]
            assert [each["fid"] for each in seen] == fids
            threading.Timer(0.05, make, (api,)).start()
            assert next(lines)["execution"]["status"] in ("queued", "cancelled")
        headers = {"Accept": "text/event-stream", "Last-Event-ID": seen[0]["cursor"]}
        with client.stream("GET", "/v1/changes", headers=headers) as answer:
            texts = answer.iter_lines()
            assert next(texts) == f"id: {seen[1]['cursor']}"
            assert json.loads(next(texts).removeprefix("data: "))["fid"] == seen[1]["fid"]


def test_changes_of_other_users_are_not_listed(api: Api) -> None:
    """Neither their executions nor their deletions. The cursor skips them."""
    with api.http("bob") as client:
        since = client.get("/v1/changes?since=now").json()["next"]
        others = make(api, user="ada")
        api.call(api.parts.store.executions.delete(others))
        mine, gone = make(api, user="bob"), make(api, user="bob")
        api.call(api.parts.store.executions.delete(gone))
        page = client.get("/v1/changes", params={"since": since}).json()
        changes = [(each["fid"], each["deleted"]) for each in page["items"]]
        assert changes == [(mine, False), (gone, True)]


def test_only_ended_executions_can_be_deleted(api: Api) -> None:
    """409 before the end, 404 afterwards and for callers who may not see it."""
    fid = make(api, ended=False)
    with api.http("ada") as client, api.http("bob") as other:
        assert client.delete(f"/v1/executions/{fid}").status_code == 409
        api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
        assert other.delete(f"/v1/executions/{fid}").status_code == 404
        assert client.delete(f"/v1/executions/{fid}").status_code == 204
        assert client.get(f"/v1/executions/{fid}").status_code == 404
        assert client.delete(f"/v1/executions/{fid}").status_code == 404


def test_a_follower_ends_if_its_execution_is_deleted(api: Api) -> None:
    """A reader that reconnected after the end sees the stream end."""
    fid = make(api, ended=False)
    with api.http("ada") as client:
        since = {"since": 10**6}
        with client.stream("GET", f"/v1/executions/{fid}/events?follow=1", params=since) as answer:
            assert answer.status_code == 200
            api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
            api.call(api.parts.store.executions.delete(fid))
            api.loop.call_soon_threadsafe(api.parts.spooler.wake, fid)
            assert answer.read() == b""


@pytest.fixture
def live(api: Api) -> Catalog:
    """Make `svc/flow` live with a form; no runner is ever started."""
    store = api.parts.store
    declared = manifest(
        service="svc",
        flows=[{"name": "flow", "entrypoint": "m:f", "limits": {}}],
        runner={"min": 0, "max": 1, "idle_timeout": 9, "concurrency": 1, "executions": None},
    )
    release = api.call(
        store.releases.create("svc", bundle="", fingerprint="", manifest=declared, by="ada")
    )
    release = api.call(
        store.releases.go_live("svc", release.number, [flow(form=FORM, tags=("of-the-flow",))])
    )

    async def never(*_: Any) -> Any:
        raise OSError("no runner comes")

    parts = api.parts
    parts.catalog = Catalog()
    parts.catalog.put(release)
    parts.supervisor._start_runner = never
    parts.launches = Launches(
        store, parts.supervisor, parts.catalog, endpoints=None, files=parts.files
    )
    return parts.catalog


def test_a_retry_repeats_the_order(api: Api, live: Catalog) -> None:
    """With hidden inputs, files, tags and entrypoint, on the live release, as the caller."""
    sha256 = api.upload(b"data")
    fid = make(
        api,
        inputs={"who": "Ada", "token": "hunter2"},
        hidden=("token",),
        tags=("mine",),
        entrypoint="m:g",
        files=(NewFile(path="in/a.txt", sha256=sha256, size_bytes=4),),
    )
    with api.http("dora") as client:
        answer = client.post(f"/v1/executions/{fid}/retry")
        assert answer.status_code == 201, answer.text
        retry = answer.json()
        assert (retry["retry_of"], retry["user"], retry["tags"]) == (fid, "dora", ["mine"])
        assert retry["inputs"] == {"who": "Ada", "token": "********"}
        again = api.call(api.parts.store.executions.get(retry["fid"]))
        assert (again.inputs["token"], again.entrypoint) == ("hunter2", "m:g")
        assert again.release == live.find("svc/flow").release
        files: list[File] = api.call(api.parts.store.files.all_of(again.id))
        assert [(each.path, each.sha256) for each in files] == [("in/a.txt", sha256)]
        events = client.get(f"/v1/executions/{again.fid}/events?kind=meta").text
        assert json.loads(events)["payload"]["retry_of"] == fid


def test_a_retry_is_made_once_for_a_key(api: Api, live: Catalog) -> None:
    """The second request gets the same answer; for another execution the key is refused."""
    fid, other = make(api, inputs={"who": "Ada"}), make(api, inputs={"who": "Bob"})
    with api.http("ada") as client:
        headers = {"Idempotency-Key": "once"}
        first = client.post(f"/v1/executions/{fid}/retry", headers=headers)
        second = client.post(f"/v1/executions/{fid}/retry", headers=headers)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["fid"] == second.json()["fid"]
        assert client.post(f"/v1/executions/{other}/retry", headers=headers).status_code == 409


def test_some_executions_cannot_be_retried(api: Api, live: Catalog) -> None:
    """If it has not ended, the live form refuses it, it is another user's, or it is not live."""
    running = make(api, inputs={"who": "Ada"}, ended=False)
    strange, elsewhere = make(api, inputs={"whom": "Ada"}), make(api, flow="other/flow")
    with api.http("ada") as client, api.http("bob") as other:
        assert client.post(f"/v1/executions/{running}/retry").status_code == 409
        refused = client.post(f"/v1/executions/{strange}/retry")
        assert refused.status_code == InputsError.http_status
        assert "form has changed" in refused.json()["hint"]
        assert other.post(f"/v1/executions/{strange}/retry").status_code == 404
        assert client.post(f"/v1/executions/{elsewhere}/retry").status_code == 404


def test_locks_of_an_execution_have_pages(api: Api) -> None:
    """Like all lists."""
    fid = make(api, ended=False)
    for number in range(3):
        store = api.parts.store
        api.call(store.locks.open(fid, f"l{number}", name=f"n{number}", data=None, expires=4e9))
    with api.http() as client:
        page = client.get(f"/v1/executions/{fid}/locks?limit=2").json()
        assert [each["lid"] for each in page["items"]] == ["l0", "l1"]
        page = client.get(
            f"/v1/executions/{fid}/locks", params={"limit": 2, "cursor": page["next"]}
        ).json()
        assert ([each["lid"] for each in page["items"]], page["next"]) == (["l2"], None)


def test_one_answer_has_status_outcome_and_open_locks(api: Api) -> None:
    """The outcome is null until it has ended. Only parts that are asked for are there."""
    store = api.parts.store
    fid = make(api, ended=False)
    for lid, name in (("lid1", "first"), ("lid2", "second")):
        api.call(store.locks.open(fid, lid, name=name, data={"n": 1}, expires=4e9))
    api.call(store.locks.answer("lid1", Answer(value=True), by="ada"))
    with api.http("ada") as client:

        def ask(include: str) -> dict[str, Any]:
            answer = client.get(f"/v1/executions/{fid}", params={"include": include})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        waiting = ask("outcome,locks")
        assert (waiting["status"], waiting["outcome"]) == ("queued", None)
        assert [each["name"] for each in waiting["locks"]] == ["second"]
        assert waiting["locks"][0] == client.get(f"/v1/executions/{fid}/locks").json()["items"][1]
        assert {"outcome", "locks"} & ask("").keys() == set()
        assert {"outcome", "locks"} & ask("locks").keys() == {"locks"}
        api.call(store.executions.settle(fid, Status.ERROR, FailureEvent(type="E", message="m")))
        ended = ask("locks,outcome")
        assert (ended["status"], ended["locks"]) == ("error", [])
        assert ended["outcome"] == client.get(f"/v1/executions/{fid}/result").json()
        assert client.get(f"/v1/executions/{fid}?include=outcome&fields=outcome").json() == {
            "outcome": ended["outcome"]
        }
        assert client.get(f"/v1/executions/{fid}?include=lock").status_code == 400
    with api.http("bob") as client:
        assert client.get(f"/v1/executions/{fid}?include=outcome").status_code == 404
