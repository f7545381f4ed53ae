"""Two processes of one control plane: whichever is asked, the answer is the leader's."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from koco.api.app import _make_routes
from koco.api.forwarding import proof, rules
from koco.events.model import Status
from koco.store.model import AuditQuery
from tests.support.api_server import Api
from tests.support.processes import processes
from tests.support.releases import flow

FORM = [{"type": "file", "name": "data", "label": "Data"}]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api]]:
    place = tmp_path_factory.mktemp("processes")
    flows = [
        {"name": "flow", "entrypoint": "m:f"},
        {"name": "bounded", "entrypoint": "m:f", "limits": {"queue": 3}},
        {"name": "filed", "entrypoint": "m:f"},
    ]
    described = [flow(), flow("bounded"), flow("filed", form=FORM)]
    given = {"service": "svc", "flows": flows}
    with processes(place, given=given, flows=described) as found:
        found[0].admit("root", "admin")
        yield found


def test_everything_that_followers_answer_is_a_route() -> None:
    """A route that is renamed would be passed on for ever, unnoticed."""
    routes = {
        route.path.replace(":str}", "}")
        for route in _make_routes().routes
        if "GET" in getattr(route, "methods", ())
    }
    assert set(rules.READS) <= routes


def test_patterns_take_one_part_of_a_path_or_all_of_the_rest() -> None:
    assert rules._READS.fullmatch("/v1/executions/a/events")
    assert rules._READS.fullmatch("/v1/flows/svc/flow")
    assert not rules._READS.fullmatch("/v1/executions/a/b")
    assert not rules._READS.fullmatch("/v1/executions/a/stack")


PATHS = [
    *("/openapi.json", "/v1/executions?limit=1&fields=fid", "/v1/executions?sttus=error"),
    *("/v1/executions/{fid}", "/v1/executions/{fid}/result", "/v1/executions/{fid}/events"),
    *("/v1/executions/{fid}/steps", "/v1/executions/{fid}/files", "/v1/executions/{fid}/locks"),
    *("/v1/executions/{waiting}", "/v1/executions/nope", "/v1/executions"),
    *("/v1/events?fid={fid}", "/v1/changes?limit=5", "/v1/flows", "/v1/flows/svc/flow"),
    *("/v1/flows/nope", "/v1/tags", "/v1/me", "/v1/locks", "/v1/services", "/v1/usage"),
    *("/v1/services/svc", "/v1/services/svc/releases", "/v1/services/svc/releases/2"),
    *("/v1/limits", "/v1/runners", "/v1/schedules", "/v1/settings", "/v1/keys", "/v1/users"),
    *("/v1/audit?action=nothing", "/v1/secrets", "/v1/webhooks", "/v1/deliveries", "/nope", "/"),
    "//v1//me",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_is_the_leaders(both: tuple[Api, Api], path: str) -> None:
    leader, _ = both
    fid, waiting = leader.execution(Status.FINISHED), leader.execution()
    target = path.format(fid=fid, waiting=waiting)
    answers = []
    for api in both:
        with httpx.Client(trust_env=False, headers={"Authorization": "Bearer root"}) as client:
            request = httpx.Request("GET", api.url, headers=client.headers)
            request.url = request.url.copy_with(raw_path=target.encode())
            answers.append(client.send(request))
    ours, theirs = answers
    assert (theirs.status_code, _known(theirs)) == (ours.status_code, _known(ours))
    own = {"date", "x-request-id"}
    assert [n for n in theirs.headers if n not in own] == [n for n in ours.headers if n not in own]


def _known(answer: httpx.Response) -> Any:
    if "json" not in answer.headers["content-type"] or "ndjson" in answer.headers["content-type"]:
        return answer.text
    return {k: v for k, v in answer.json().items() if k != "request_id"}


def test_a_launch_is_committed_where_it_arrives_once_for_each_key(both: tuple[Api, Api]) -> None:
    leader, follower = both
    before = follower.parts.supervisor.launched
    fids = []
    for api in (follower, leader, follower):
        with api.http() as client:
            answer = client.post("/v1/flows/flow", json={}, headers={"Idempotency-Key": "one"})
            fids.append((answer.status_code, answer.json()["result"]))
    assert [code for code, _ in fids] == [201, 200, 200]
    assert len({fid for _, fid in fids}) == 1
    assert follower.parts.supervisor.launched == before + 1


@pytest.mark.parametrize(
    ("flow", "headers"),
    [
        ("svc/bounded", {}),
        ("svc/filed", {}),
        ("svc/flow", {"Prefer": "wait=0"}),
        ("svc/flow", {"Webhook": "https://example.com/hook"}),
    ],
)
def test_a_launch_that_needs_the_leader_is_passed_on(
    both: tuple[Api, Api], flow: str, headers: dict[str, str]
) -> None:
    _, follower = both
    before = follower.parts.supervisor.launched
    inputs = {"data": None} if flow == "svc/filed" else {}
    with follower.http() as client:
        answer = client.post(f"/v1/flows/{flow}", json=inputs, headers=headers)
        assert answer.status_code in (201, 202), answer.text
    assert follower.parts.supervisor.launched == before


def test_a_launch_with_an_upload_is_begun_here_and_then_passed_on(both: tuple[Api, Api]) -> None:
    """Only the inputs tell that it brings a file; nothing is written twice."""
    _, follower = both
    before = follower.parts.supervisor.launched
    sha256 = follower.upload(b"abc")  # goes to the leader as well
    with follower.http() as client:
        inputs = {"it": {"$upload": {"name": "a.txt", "sha256": sha256}}}
        mark = _mark(inputs)
        answer = client.post("/v1/flows/flow", json=mark)
        assert answer.status_code == 201, answer.text
        fid = answer.json()["result"]
        files = client.get(f"/v1/executions/{fid}/files").json()["items"]
    assert [each["path"] for each in files] == ["in/a.txt"]
    assert follower.parts.supervisor.launched == before


def _mark(inputs: dict[str, Any]) -> dict[str, Any]:
    from koco.control.executions.files import MARK

    return {key: {MARK: value["$upload"]} for key, value in inputs.items()}


def test_a_refusal_is_logged_once_with_its_caller(both: tuple[Api, Api]) -> None:
    """Whether it is refused here, at a launch, or by the leader."""
    _, follower = both
    follower.admit("reader", "read")
    before = len(follower.call(follower.parts.store.audit.page(AuditQuery())).items)
    with follower.http("reader") as client:
        assert client.post("/v1/flows/flow", json={}).status_code == 403
        assert client.delete("/v1/keys/root").status_code == 403
    entries = follower.call(follower.parts.store.audit.page(AuditQuery())).items
    found = [(each.action, each.who, each.target) for each in entries[: len(entries) - before]]
    assert found == [("revoke_key", "reader", "root"), ("launch", "reader", "flow")]


def test_nothing_of_a_launch_that_is_passed_on_is_logged_or_counted(both: tuple[Api, Api]) -> None:
    _, follower = both
    sha256 = follower.upload(b"abcd")
    with follower.http() as client:
        mark = _mark({"it": {"$upload": {"name": "a.txt", "sha256": sha256}}})
        headers = {"X-Request-ID": "counted-once"}
        assert client.post("/v1/flows/flow", json=mark, headers=headers).status_code == 201
    with follower.http("root") as client:
        entries = client.get("/v1/audit?action=launch").json()["items"]
        text = client.get("/v1/metrics").text
    assert [e["outcome"] for e in entries if e["request"] == "counted-once"] == ["ok"]
    assert 'status="503"' not in text


def test_a_new_flow_is_found_before_this_process_has_heard_of_it(both: tuple[Api, Api]) -> None:
    _, follower = both
    catalog = follower.parts.catalog
    release = catalog.release("svc")
    follower.loop.call_soon_threadsafe(catalog.remove, "svc")
    try:
        with follower.http() as client:
            assert client.post("/v1/flows/svc/flow", json={}).status_code == 201
    finally:
        follower.loop.call_soon_threadsafe(catalog.put, release)


def test_a_follower_of_events_wakes_at_once(both: tuple[Api, Api]) -> None:
    leader, follower = both
    fid = leader.execution()
    seen: list[float] = []

    def follow() -> None:
        with follower.http() as client:
            path = f"/v1/executions/{fid}/events?follow=true"
            with client.stream("GET", path) as answer:
                for line in answer.iter_lines():
                    if line and json.loads(line)["kind"] == "status":
                        seen.append(time.monotonic())

    thread = threading.Thread(target=follow)
    thread.start()
    while not follower.parts.spooler.readers(fid):
        time.sleep(0.01)
    began = time.monotonic()
    leader.call(leader.parts.store.executions.settle(fid, Status.FINISHED, None))
    thread.join(10)
    assert seen and seen[-1] - began < 2  # far less than a heartbeat


def test_a_revoked_key_ends_its_streams_in_other_processes(both: tuple[Api, Api]) -> None:
    leader, follower = both
    leader.admit("gone", "read")
    ended = threading.Event()

    def follow() -> None:
        with follower.http("gone") as client, client.stream("GET", "/v1/changes?follow=true") as a:
            for _ in a.iter_bytes():
                pass
        ended.set()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    while not len(follower.parts.streams):
        time.sleep(0.01)
    assert not ended.is_set()
    with follower.http("root") as client:
        assert client.delete("/v1/keys/gone").status_code in (200, 204)
    assert ended.wait(5)


def test_the_leader_sees_the_clients_own_address_and_id(both: tuple[Api, Api]) -> None:
    _, follower = both
    forged = {"X-Forwarded-For": "1.2.3.4", "koco-passed-on": "[] 00"}
    entry = _refused(follower, {**forged, "X-Request-ID": "mine"})
    assert (entry.address, entry.request) == ("127.0.0.1", "mine")


@pytest.mark.parametrize("at", [0, 1])
def test_nobody_else_can_choose_an_address(both: tuple[Api, Api], at: int) -> None:
    value = _sealed(both[0], "POST", "/v1/keys", "1.2.3.4")
    entry = _refused(both[at], {"koco-passed-on": value, "X-Request-ID": f"forged-{at}"})
    assert entry.address == "127.0.0.1"  # it was made for another target


def test_a_request_is_passed_on_only_once(both: tuple[Api, Api]) -> None:
    leader, follower = both
    headers = {"koco-passed-on": _sealed(leader, "GET", "/v1/settings", "1.2.3.4")}
    headers["Authorization"] = "Bearer root"
    answer = httpx.get(f"{follower.url}/v1/settings", headers=headers, trust_env=False)
    assert answer.status_code == 503
    assert answer.json()["code"] == "only_leader"
    assert answer.headers["retry-after"] == "1"


def _sealed(api: Api, method: str, path: str, address: str) -> str:
    scope = {"method": method, "raw_path": path.encode(), "query_string": b""}
    scope |= {"scheme": "http", "client": (address, 1)}
    return proof.make(api.parts.leadership.secret, scope).decode()


def _refused(api: Api, headers: dict[str, str]) -> Any:
    """Ask for what is not allowed; return the entry in the audit log."""
    with api.http() as client:
        asked = headers["X-Request-ID"]
        assert client.delete("/v1/keys/root", headers=headers).status_code == 403
    page = api.call(api.parts.store.audit.page(AuditQuery()))
    return next(each for each in page.items if each.request == asked)


def test_health_says_whether_the_process_leads(both: tuple[Api, Api]) -> None:
    for api, leads in zip(both, (True, False), strict=True):
        with api.http() as client:
            assert client.get("/health").json()["leads"] is leads


def test_health_fails_where_no_process_leads(
    both: tuple[Api, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executions cannot run then, although this process and its store are well."""

    async def nobody() -> None:
        return None

    _, follower = both
    monkeypatch.setattr(follower.parts.leadership, "_find", nobody)
    until_s = time.monotonic() + 30  # the answer is kept for a moment
    with follower.http() as client:
        while (answer := client.get("/health")).status_code == 200:
            assert time.monotonic() < until_s
            time.sleep(0.1)
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
