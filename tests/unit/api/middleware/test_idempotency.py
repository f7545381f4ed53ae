"""Idempotency keys, launches that wait for the end, and metrics."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from koco.api.app import create_app
from koco.api.openapi import annotations
from koco.control.executions.launcher import Launches
from koco.control.services.catalog import Catalog
from koco.store.model import Reply
from koco.store.replies import KEPT_S
from tests.support.api_server import Api, serving
from tests.support.contract import bare_parts
from tests.support.driver import calm_s
from tests.support.releases import flow, manifest
from tests.unit.api.routes.executions.test_results import ended

FORM = [{"type": "text", "name": "who"}]
MANIFEST = manifest(
    service="svc",
    flows=[{"name": "flow", "entrypoint": "m:f", "limits": {}}],
    runner={"min": 0, "max": 1, "idle_timeout": 9, "concurrency": 1, "executions": None},
)
FLOW = flow(form=FORM)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("root", "admin")
        api.call(_with_flow(api))
        yield api


async def _with_flow(api: Api) -> None:
    """Make a flow that can be launched, but is never run."""
    parts = api.parts
    release = await parts.store.releases.create(
        "svc", bundle="", fingerprint="", manifest=MANIFEST, by="ada"
    )
    catalog = parts.catalog = Catalog()
    catalog.put(await parts.store.releases.go_live("svc", release.number, [FLOW]))

    async def never(*_: Any) -> Any:
        raise OSError("no runner comes")

    parts.supervisor._start_runner = never
    nothing: Any = None
    parts.launches = Launches(
        parts.store, parts.supervisor, catalog, endpoints=nothing, files=parts.files
    )


def make_key(client: Any, key: str, name: str = "new", **more: Any) -> Any:
    return client.post("/v1/keys", json={"name": name, **more}, headers={"Idempotency-Key": key})


def test_every_route_that_creates_accepts_a_key() -> None:
    """Except a login, whose caller is not known yet, and a cancellation, which can be repeated."""
    parts = bare_parts()
    without = set()
    for route in create_app(parts).routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if method == "POST" and _creates(handler) and not _is_keyed(handler):
                without.add(handler.fn.__name__)
    assert without == {"create_session", "cancel_execution"}


def _creates(handler: HTTPRouteHandler) -> bool:
    return bool({201, 202} & annotations.answers(handler).keys())


def _is_keyed(handler: HTTPRouteHandler) -> bool:
    return "Idempotency-Key" in handler.opt.get("headers", ())


def test_a_repeated_request_gets_the_same_answer(api: Api) -> None:
    """Nothing more is created. Each user has their own keys."""
    with api.http("root") as client:
        first, again = make_key(client, "k1"), make_key(client, "k1")
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert again.headers["Location"] == first.headers["Location"] == "/v1/keys/new"
        assert make_key(client, "k2").status_code == 409  # there is one of that name
        api.admit("other", "admin")
    with api.http("other") as client:
        assert make_key(client, "k1").status_code == 409


def test_a_key_is_valid_for_one_request(api: Api) -> None:
    """Another body, path or query under it is 409 with a hint."""
    with api.http("root") as client:
        assert make_key(client, "k3", "third").status_code == 201
        answer = make_key(client, "k3", "fourth")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "new key" in answer.json()["hint"]
        headers = {"Idempotency-Key": "k3"}
        assert client.post("/v1/keys/third/rotate", json={}, headers=headers).status_code == 409
        for bad in ("", "x" * 256, "é".encode()):
            assert make_key(client, bad, "fifth").status_code == 400


def test_a_refusal_is_not_kept(api: Api) -> None:
    """The client can fix the mistake and use the same key."""
    with api.http("root") as client:
        assert make_key(client, "k4", "fine", scopes=["fly"]).status_code == 400
        assert make_key(client, "k4", "fine").status_code == 201


def test_two_requests_at_once_are_handled_once(api: Api) -> None:
    """The second waits for the first and gets the same answer."""
    with api.http("root") as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: make_key(client, "k5", "once"), range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["secret"] for answer in answers}) == 1


def test_the_next_key_of_a_name_does_not_get_a_former_ones_secret(api: Api) -> None:
    """It would be that of a webhook which went with the former key, and no new one is made."""
    request = {"json": {"name": "hook", "url": "https://example.com/"}}
    request["headers"] = {"Idempotency-Key": "hook"}
    secrets = []
    for created in ("2026", "2027"):
        api.admit("eve", "launch")
        api.sql(f"UPDATE keys SET created = '{created}' WHERE name = 'eve'")
        with api.http("eve") as client:
            both = [client.post("/v1/webhooks", **request).json()["secret"] for _ in range(2)]
            assert both[0] == both[1]
            assert [each["name"] for each in client.get("/v1/webhooks").json()["items"]] == ["hook"]
        secrets.append(both[0])
    assert secrets[0] != secrets[1]


def test_no_secret_is_written_to_disk(api: Api) -> None:
    """Neither a new key, nor a password, nor a digest of them: memory has them for a minute."""
    with api.http("root") as client:
        secret = make_key(client, "k6", "sixth").json()["secret"]
    files = [path.read_bytes() for path in api.data_dir.glob("store.db*")]
    assert not any(secret.encode() in each for each in files)
    with sqlite3.connect(api.data_dir / "store.db") as db:
        assert db.execute("SELECT count(*) FROM replies").fetchone() == (0,)


def test_a_reply_is_kept_for_a_day(api: Api) -> None:
    """Across a restart. Then its key is free, and its row is deleted with the next reply."""
    store, now = api.parts.store, time.time()
    old = Reply("ada", "old", "d", 202, b"{}", "/v1/x", now - KEPT_S - 1)
    new = Reply("ada", "new", "d", 202, b"{}", "", now)
    api.call(store.replies.put(old))
    assert api.call(store.replies.find("ada", "old")) is None
    api.call(store.replies.put(new))
    assert api.call(store.replies.find("ada", "new")) == new
    assert api.call(store.replies.find("bob", "new")) is None
    with sqlite3.connect(api.data_dir / "store.db") as db:
        assert db.execute("SELECT key FROM replies").fetchall() == [("new",)]


# waiting for a launch's end


def launch(client: Any, prefer: str = "", **headers: str) -> Any:
    headers |= {"Prefer": prefer} if prefer else {}
    return client.post("/v1/flows/svc/flow", json={"who": "Ada"}, headers=headers)


def eventually(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_launch_has_a_location(api: Api) -> None:
    """`Location`, and the fid in the body."""
    with api.http() as client:
        answer = launch(client)
        assert (answer.status_code, set(answer.json())) == (201, {"result"})
        where = answer.headers["Location"]
        assert client.get(where).json()["fid"] == answer.json()["result"]
        [meta] = client.get(f"{where}/events?kind=meta").text.splitlines()
        assert json.loads(meta)["payload"]["request"] == answer.headers["X-Request-ID"]


def test_a_launch_can_wait_for_its_end(api: Api) -> None:
    """The answer has the outcome as soon as it is there. Under the same key it is 200."""
    with api.http() as client, ThreadPoolExecutor() as pool:
        before = api.call(api.parts.store.executions.count_by_status()).get("queued", 0)
        waiting = pool.submit(launch, client, "wait=20", **{"Idempotency-Key": "w1"})
        eventually(
            lambda: api.call(api.parts.store.executions.count_by_status()).get("queued", 0) > before
        )
        fid = client.get("/v1/executions/latest").json()["fid"]
        began = calm_s()
        ended(api, "done", fid)
        answer = waiting.result()
        assert calm_s() - began < 5
        assert (answer.status_code, answer.json()["result"]) == (201, fid)
        assert answer.headers["Preference-Applied"] == "wait=20"
        outcome = {"fid": fid, "status": "finished", "result": "done"}
        assert answer.json()["outcome"] == outcome
        assert answer.json()["execution"]["status"] == "finished"
        again = launch(client, "wait=1", **{"Idempotency-Key": "w1"})
        assert (again.status_code, again.json()["outcome"]) == (200, outcome)


def test_a_launch_that_does_not_end_in_time_continues(api: Api) -> None:
    """202 with its location, and nothing watches it afterwards."""
    with api.http() as client:
        for prefer, applied in (("wait=0", "wait=0"), ('respond-async, Wait="0"; x', "wait=0")):
            answer = launch(client, prefer)
            assert (answer.status_code, set(answer.json())) == (202, {"result", "execution"})
            assert answer.headers["Preference-Applied"] == applied
            assert client.get(answer.headers["Location"]).json()["status"] == "queued"
        for ignored in ("wait=x", "await=3", "wait=-1", "return=minimal"):
            answer = launch(client, ignored)
            assert answer.status_code == 201
            assert "Preference-Applied" not in answer.headers
    assert (len(api.parts.streams), dict(api.parts.spooler._readers)) == (0, {})


def test_no_launch_waits_longer_than_a_minute() -> None:
    """Even if the client would."""
    from koco.api.routes import flows

    assert [flows._patience(f"wait={text}") for text in ("60", "61", "999999999")] == [60, 60, 60]


def test_a_waiting_launch_counts_as_a_stream(api: Api) -> None:
    """Beyond the limit nothing is launched: 429 with `Retry-After`."""
    before = api.call(api.parts.store.executions.count_by_status())
    streams = api.parts.streams
    streams._settings.max_streams_per_key, most = 0, streams._settings.max_streams_per_key
    try:
        with api.http() as client:
            answer = launch(client, "wait=1")
    finally:
        streams._settings.max_streams_per_key = most
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
    assert int(answer.headers["Retry-After"]) >= 1
    assert api.call(api.parts.store.executions.count_by_status()) == before


def test_an_execution_continues_if_its_client_disconnects(api: Api) -> None:
    """It runs to its end."""
    import httpx

    with api.http() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/flows/svc/flow", json={}, headers={"Prefer": "wait=2"}, timeout=0.3)
        fid = client.get("/v1/executions/latest").json()["fid"]
        assert client.get(f"/v1/executions/{fid}").json()["status"] == "queued"
        ended(api, 1, fid)
        assert client.get(f"/v1/executions/{fid}/result").json()["result"] == 1


# metrics


def test_prometheus_can_read_the_metrics(api: Api) -> None:
    """Executions, launches, events and answers, in both formats. Limited keys are refused."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families

    with api.http() as client:
        launch(client)
        client.get("/v1/nothing")
        client.get("/v1/executions/none")
        answer = client.get("/v1/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert answer.headers["Content-Type"].endswith("; charset=utf-8")
        assert answer.headers["Content-Type"].count("charset") == 1
        families = {each.name: each for each in text_string_to_metric_families(answer.text)}
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        other = client.get("/v1/metrics", headers=accept)
        assert other.headers["Content-Type"].startswith("application/openmetrics-text")
        assert families.keys() <= {
            name
            for each in openmetrics(other.text)
            for name in (each.name, *(sample.name for sample in each.samples))
        }
    [launches] = families["koco_launches"].samples
    assert launches.value == api.parts.supervisor.launched > 0
    attempts = {s.labels["outcome"]: s.value for s in families["koco_webhook_attempts"].samples}
    assert attempts == {"ok": 0, "failed": 0}
    assert [each.value for each in families["koco_webhook_waiting"].samples] == [0]
    statuses = {s.labels["status"]: s.value for s in families["koco_executions"].samples}
    tallies = api.call(api.parts.store.executions.count_by_status())
    assert statuses == {status: count for status, count in tallies.items() if count}
    [queued] = families["koco_flow_queued"].samples
    assert (queued.labels, queued.value > 0) == ({"flow": "svc/flow"}, True)
    used = {s.labels["flow"]: s.value for s in families["koco_flow_executions"].samples}
    assert used["svc/flow"] == sum(tallies.values())
    assert families["koco_flow_cpu_seconds"].samples[0].labels == {"flow": "svc/flow"}
    counts = {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value
        for s in families["koco_http_request_duration_seconds"].samples
        if s.name.endswith("_count")
    }
    assert counts["", "", "404"] == 1
    assert counts["GET", "/v1/executions/{fid}", "404"] == 1
    api.admit("part", "read", flows=("svc/*",))
    with api.http("part") as client:
        assert client.get("/v1/metrics").status_code == 403
