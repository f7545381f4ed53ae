"""The API over real HTTP: who may, what is wrong, streams from any point."""

import json

import pytest

from tests.support.driver import Koco

CODE = """
    async def lines(tracer, count: int = 10):
        for number in range(count):
            await tracer.result(number)
            print("line", number)
        return "end"

    def choose(size: int, colour: str = "red"):
        return [size, colour]
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy("api", CODE)


@pytest.fixture(scope="module")
def fid(app: Koco) -> str:
    return app.execute("api/lines").fid


def test_nobody_gets_anything_but_health(app: Koco) -> None:
    """Without a key, or with a wrong one, every route says 401 and no more."""
    paths = ["/v1/status", "/v1/flows", "/v1/executions", "/v1/executions/latest"]
    for headers in ({}, {"Authorization": "Bearer koco_wrong"}, {"Authorization": "Basic eA=="}):
        with app.http(headers=headers) as client:
            assert client.get("/health").json()["status"] == "ok"
            for path in paths:
                answer = client.get(path)
                assert answer.status_code == 401, path
                assert answer.json()["code"] == "unauthorized"
            assert client.post("/v1/flows/api/lines", json={}).status_code == 401
            assert client.post("/v1/doctor").status_code == 401


def test_invalid_inputs_are_told_by_field(app: Koco) -> None:
    """Every message of every field in one answer; unknown fields with the nearest known one."""
    with app.http() as client:
        answer = client.post("/v1/flows/choose", json={"size": "big", "color": "blue"})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert set(errors) == {"size", "color"}
    assert "colour" in errors["color"][0]
    assert answer.json()["code"] == "invalid_inputs"


@pytest.mark.parametrize("body", ["[1]", "nonsense", '"x"', "[" * 40_000])
def test_a_body_that_is_no_object_is_refused(app: Koco, body: str) -> None:
    """The answer is a clear 400, whatever was sent."""
    with app.http() as client:
        answer = client.post("/v1/flows/api/lines", content=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "usage"


def test_whole_numbers_of_any_size_reach_the_flow(app: Koco) -> None:
    """As in Python: 64 bits are no limit."""
    assert app.execute("api/choose", size=2**80).result == [2**80, "red"]


def test_inputs_that_are_nested_too_deeply_are_refused(app: Koco) -> None:
    """Also below what JSON readers take: lists of executions must be shown to everybody."""
    with app.http() as client:
        for depth in (250, 700, 970):
            body = '{"size":' + "[" * depth + "]" * depth + "}"
            answer = client.post("/v1/flows/api/choose", content=body)
            assert answer.status_code == 400, depth
            assert "levels deep" in answer.json()["detail"]


def test_what_is_not_there_is_404_in_our_form(app: Koco) -> None:
    """Unknown flows, executions, routes and releases; near names are hinted at."""
    with app.http() as client:
        for path in ("/v1/executions/zzzz", "/v1/nothing", "/v1/services/x/releases/1"):
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert answer.json()["code"] == "not_found"
        answer = client.get("/v1/flows/linse")
        assert "lines" in answer.json()["hint"]
        assert client.delete("/v1/flows").status_code == 405


def test_events_from_any_point(app: Koco, fid: str) -> None:
    """`since`, `tail` and `kind` choose; together with `follow` the end is always told."""
    everything = app.get_events(fid)
    last = everything[-1]["seq"]
    assert app.get_events(fid, since=last - 2) == everything[-2:]
    assert app.get_events(fid, tail=3) == everything[-3:]
    assert app.get_events(fid, tail=0) == []
    results = [event for event in everything if event["kind"] == "result"]
    assert app.get_events(fid, kind="result") == results
    assert app.get_events(fid, kind="result", tail=2) == results[-2:]
    assert app.get_events(fid, kind="result,final")[-1]["kind"] == "final"
    end = everything[-1]
    assert app.events(fid, kind="result", tail=2) == [*results[-2:], end]
    assert app.events(fid, since=last) == []
    assert app.events(fid, tail=1) == [end]
    with app.http() as client:
        for query in ("kind=bogus", "tail=-1", "since=-1", "since=x"):
            assert client.get(f"/v1/executions/{fid}/events?{query}").status_code == 400, query


def test_server_sent_events_resume_by_their_id(app: Koco, fid: str) -> None:
    """With `Accept: text/event-stream` each event has its seq as id; Last-Event-ID goes on."""
    everything = app.get_events(fid)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "4"}
    with app.http() as client:
        answer = client.get(f"/v1/executions/{fid}/events?follow=true", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block.startswith("id")]
    got = [json.loads(data.removeprefix("data: ")) for _, _, data in blocks]
    assert got == everything[4:]
    assert [int(block[0].removeprefix("id: ")) for block in blocks] == [e["seq"] for e in got]


def test_lists_are_pages(app: Koco) -> None:
    """Newest first; `next` leads to each older execution once."""
    made = [app.execute("choose", size=number).fid for number in range(5)]
    page = app.get("/v1/executions", flow="choose", limit=2)
    seen = [item["fid"] for item in page["items"]]
    while page["next"]:
        page = app.get("/v1/executions", flow="choose", limit=2, cursor=page["next"])
        seen += [item["fid"] for item in page["items"]]
    assert seen[:5] == made[::-1]
    assert len(set(seen)) == len(seen)
    item = app.get("/v1/executions", limit=1)["items"][0]
    promised = "fid flow service release status created started finished user tags inputs"
    assert set(promised.split()) <= set(item)


def test_a_prefix_is_enough(app: Koco, fid: str) -> None:
    """A unique prefix names an execution, `latest` the last one."""
    assert app.get(f"/v1/executions/{fid[:10]}")["fid"] == fid
    launched = app.execute("choose", size=1).fid
    assert app.get("/v1/executions/latest")["fid"] == launched


def test_status_tells_what_scripts_rely_on(app: Koco) -> None:
    """The keys of `koco status --json` that DESIGN promises."""
    status = app.get("/v1/status")
    assert {"pid", "version", "url", "started"} <= set(status["control_plane"])
    assert {"version", "nodes"} <= set(status["ray"])
    assert status["store"]["size_bytes"] > 0
    assert status["executions"]["finished"] > 0
    assert status["ray"]["nodes"][0]["alive"]


def test_another_try_is_told_found_and_deleted(app: Koco, fid: str) -> None:
    """It runs as the former one did; changes tell of it, a search finds its result."""
    since = app.get("/v1/changes", since="now")["next"]
    ran = app.run("retry", fid, "--wait", "--json")
    assert ran.code == 0, ran.err
    again = ran.lines()[-1]["fid"]
    told = {each["fid"]: each for each in app.get("/v1/changes", since=since)["items"]}
    assert told[again]["execution"]["status"] == "finished"
    assert told[again]["execution"]["retry_of"] == fid
    found = app.get("/v1/executions", search="end", flow="api/lines")["items"]
    assert again in [each["fid"] for each in found]
    assert app.run("delete", again, "--yes").ok()
    after = told[again]["cursor"]
    gone = [each["fid"] for each in app.get("/v1/changes", since=after)["items"] if each["deleted"]]
    assert gone == [again]
    assert app.run("show", again).code == 4


def test_a_launch_that_is_waited_for_is_answered_with_its_outcome(app: Koco) -> None:
    """One request in place of three, and the metrics have counted it."""
    with app.http() as client:
        answer = client.post("/v1/flows/choose", json={"size": 1}, headers={"Prefer": "wait=20"})
        assert answer.status_code == 201, answer.text
        told = answer.json()
        assert told["outcome"]["status"] == told["execution"]["status"] == "finished"
        assert client.get(f"{answer.headers['Location']}/result").json() == told["outcome"]
        metrics = client.get("/v1/metrics").text
    assert 'method="POST",route="/v1/flows/{name}",status="201"' in metrics
    assert 'koco_executions{status="finished"}' in metrics
