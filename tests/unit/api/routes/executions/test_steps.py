"""Recorded steps, their export, messages, resumes and children, over a real socket."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from koco.events import line
from koco.events.model import Status
from koco.events.steps import StepKind, StepRecord, StepStatus, encode_line, split_line
from koco.events.wire import Batch
from koco.store import past
from koco.store.model import FailureEvent, NewWait, Recorded
from tests.support.api_server import Api, serving
from tests.support.releases import flow
from tests.support.whole_api import complete


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api, flows=[flow()]))
        api.admit("boss", "admin")
        api.admit("looker", "read", "launch", sees_all=True)
        yield api


def make(api: Api, **more: Any) -> str:
    """Make an execution of Ada's that runs, with two steps, and return its fid."""
    fid = api.execution(**{"release": 2, **more})
    start = Batch(fid, "p", 1, 0, b"", status=Status.RUNNING)
    api.call(api.parts.store.events.append([start]))
    record(api, fid, 1, "fetch:0", StepStatus.FINISHED)
    record(api, fid, 2, "ask:0", StepStatus.ERROR)
    return fid


def record(api: Api, fid: str, position: int, key: str, status: StepStatus) -> None:
    """Commit a step as its runner sends it."""
    step = StepRecord(
        **{"key": key, "name": key.partition(":")[0], "position": position, "digest": "00"},
        **{"status": status, "attempt": 1, "failures": 0, "started": 0.5, "duration_s": 1.5},
        **{"arguments": "('a',)", "preview": "'page'", "result": b"value", "size_bytes": 5},
    )
    body, found = split_line(encode_line(step))
    assert found is not None
    batch = Batch(fid, "p", position, 1, body)
    api.call(api.parts.store.events.append([batch], records=[[Recorded(0, found)]]))


def end(api: Api, fid: str) -> None:
    error = FailureEvent(type="ValueError", message="no")
    api.call(api.parts.store.executions.settle(fid, Status.ERROR, error))


def test_steps_are_a_list_with_pages(api: Api) -> None:
    """In the order of their calls, with times in RFC 3339; of one status if that is asked for."""
    fid = make(api)
    with api.http() as client:
        first = client.get(f"/v1/executions/{fid}/steps?limit=1").json()
        [step] = first["items"]
        assert step == {
            **{"key": "fetch:0", "name": "fetch", "kind": "step", "position": 1},
            **{"status": "finished", "attempt": 1, "failures": 0, "started": line.timestamp(0.5)},
            **{"duration_s": 1.5, "size_bytes": 5, "arguments": "('a',)", "preview": "'page'"},
            **{"due": None, "child": None},
        }
        rest = client.get(f"/v1/executions/{fid}/steps?cursor={first['next']}").json()
        assert ([each["key"] for each in rest["items"]], rest["next"]) == (["ask:0"], None)
        failed = client.get(f"/v1/executions/{fid}/steps?status=error,waiting").json()["items"]
        assert [each["key"] for each in failed] == ["ask:0"]
        odd = client.get(f"/v1/executions/{fid}/steps?status=nope")
        assert (odd.status_code, odd.json()["detail"]) == (400, "no status is called 'nope'")


def test_the_export_has_the_results(api: Api) -> None:
    """Its owner and admins get it; others who see the execution are refused, and told why."""
    fid = make(api)
    for who in ("ada", "boss"):
        with api.http(who) as client:
            history = client.get(f"/v1/executions/{fid}/steps/history").json()
        assert (history["fid"], history["flow"]) == (fid, "svc/flow")
        assert base64.b64decode(history["steps"][0]["result"]) == b"value"
    with api.http("looker") as client:
        assert client.get(f"/v1/executions/{fid}/steps").status_code == 200
        refused = client.get(f"/v1/executions/{fid}/steps/history")
        assert (refused.status_code, "ada and admins may" in refused.json()["hint"]) == (403, True)


def test_an_export_that_fails_looks_like_no_history(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the answer; if a part of the history is sent already, the connection breaks."""
    monkeypatch.setattr(past, "_PIECE", 1)
    lost = f"UPDATE steps SET result = NULL, blob = '{'0' * 64}' WHERE key ="
    fid = make(api)
    path = f"/v1/executions/{fid}/steps/history"
    with api.http() as client:
        assert client.head(path).status_code == 200
        api.sql(f"{lost} 'ask:0'")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(path)
        api.sql(f"{lost} 'fetch:0'")
        answer = client.get(path)
        assert (answer.status_code, "is not in" in answer.json()["detail"]) == (404, True)


def test_a_resume_is_for_its_owner_and_admins(api: Api) -> None:
    """Because the new execution belongs to who resumes it, with the recorded results."""
    fid = make(api)
    end(api, fid)
    with api.http("looker") as client:
        refused = client.post(f"/v1/executions/{fid}/resume", json={"release": "live"})
        assert (refused.status_code, "ada and admins may" in refused.json()["hint"]) == (403, True)
    with api.http("boss") as client:
        wish = {"release": "live"}
        assert client.post(f"/v1/executions/{fid}/resume", json=wish).status_code == 201


def test_the_export_has_nothing_of_other_users(api: Api) -> None:
    """Neither results of an execution that it resumes, nor hidden inputs of one that it retries."""

    def exported(who: str, fid: str) -> int:
        with api.http(who) as client:
            return client.get(f"/v1/executions/{fid}/steps/history").status_code

    former = make(api, inputs={"pin": 1}, hidden=("pin",))
    end(api, former)
    plain = make(api, user="looker", retry_of=make(api))
    assert exported("looker", plain) == 200  # it has only inputs that are shown anyway
    retry = make(api, user="looker", hidden=("pin",), retry_of=former)
    resumed = make(api, user="looker", hidden=("pin",), resume_of=retry)
    foreign = make(api, user="looker", resume_of=former)
    for fid in (retry, resumed, foreign):
        assert (exported("looker", fid), exported("boss", fid)) == (403, 200)
    api.call(api.parts.store.executions.delete(former))
    assert exported("looker", resumed) == 403


def test_a_message_is_stored_and_given_to_who_waits(api: Api) -> None:
    """The answer says which step has received it, if one has."""
    fid = make(api)
    with api.http("looker") as client:
        first = client.post(f"/v1/executions/{fid}/messages/note", json={"data": {"n": 1}})
        assert first.status_code == 201, first.text
        assert (first.json()["by"], first.json()["taken"]) == ("looker", None)
        wait = NewWait(
            **{"key": "receive.go:0", "name": "receive.go", "kind": StepKind.RECEIVE},
            **{"position": 3, "digest": "00", "message": "go"},
        )
        api.call(api.parts.store.steps.open_wait(fid, wait))
        assert client.post(f"/v1/executions/{fid}/messages/go").json()["taken"] == "receive.go:0"
    outcome = api.call(api.parts.store.steps.outcome(_number(api, fid), "receive.go:0"))
    assert (outcome.status, outcome.value) == ("finished", None)


def test_a_message_is_sent_once_for_a_key(api: Api) -> None:
    """Its value is kept nowhere else, because it may be a password."""
    fid = make(api)
    headers = {"Idempotency-Key": "once"}
    with api.http() as client:
        for _ in range(2):
            path = f"/v1/executions/{fid}/messages/note"
            assert client.post(path, json={"data": 1}, headers=headers).status_code == 201
        other = client.post(
            f"/v1/executions/{fid}/messages/note", json={"data": 2}, headers=headers
        )
        assert other.status_code == 409
    count = api.call(
        api.parts.store.engine.read(
            lambda db: db.execute(
                "SELECT count(*) FROM messages m JOIN executions e ON e.id ="
                " m.execution WHERE e.fid = :fid",
                {"fid": fid},
            ).fetchone()
        )
    )
    assert count == (1,)


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("note", b"{", 400),
        ("note", b'{"dat": 1}', 400),
        ("note", json.dumps({"data": f"koco_{'x' * 43}"}).encode(), 400),
        ("no%20te", b"{}", 400),
        ("note", b'{"data": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400),
    ],
    ids=["no-json", "unknown", "key", "name", "deep"],
)
def test_a_wrong_message_is_refused(api: Api, name: str, body: bytes, status: int) -> None:
    """With an error that says what is wrong."""
    fid = make(api)
    with api.http() as client:
        answer = client.post(f"/v1/executions/{fid}/messages/{name}", content=body)
        assert answer.status_code == status, answer.text
        end(api, fid)
        late = client.post(f"/v1/executions/{fid}/messages/note", json={"data": 1})
        assert (late.status_code, late.json()["code"]) == (409, "conflict")


def test_a_resume_keeps_the_steps_before_the_failed_one(api: Api) -> None:
    """On the live release or its own; the answer and the first event name the former one."""
    fid = make(api)
    with api.http() as client:
        assert client.post(f"/v1/executions/{fid}/resume").status_code == 409
        end(api, fid)
        for wish in ({"release": "live"}, {"from": "ask", "release": "live"}):
            answer = client.post(f"/v1/executions/{fid}/resume", json=wish)
            assert answer.status_code == 201, answer.text
            new = answer.json()
            assert (new["resume_of"], new["release"]) == (fid, 2)
            kept = client.get(f"/v1/executions/{new['fid']}/steps").json()["items"]
            assert [each["key"] for each in kept] == ["fetch:0"]
            meta = client.get(f"/v1/executions/{new['fid']}/events?kind=meta").text
            assert json.loads(meta)["payload"]["resume_of"] == fid
        assert client.post(f"/v1/executions/{fid}/resume", json={"from": "x"}).status_code == 404
        assert client.post(f"/v1/executions/{fid}/resume", json={"form": "x"}).status_code == 400


def test_a_resume_is_made_once_for_a_key(api: Api) -> None:
    """The second request gets the same answer; from another step the key is refused."""
    fid = make(api)
    end(api, fid)
    with api.http() as client:
        ask = {"headers": {"Idempotency-Key": "again"}, "json": {"release": "live"}}
        first, second = [client.post(f"/v1/executions/{fid}/resume", **ask) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["fid"] == second.json()["fid"]
        ask["json"] = {"from": "fetch", "release": "live"}
        assert client.post(f"/v1/executions/{fid}/resume", **ask).status_code == 409


def test_children_are_listed_by_their_parent(api: Api) -> None:
    """By its fid or the start of it; who may not see the parent gets 404."""
    parent = make(api)
    child = make(api, parent=parent)
    with api.http() as client:
        [found] = client.get(f"/v1/executions?parent={parent}").json()["items"]
        assert (found["fid"], found["parent"]) == (child, parent)
        assert (found["resumed"], found["parked"], found["resume_of"]) == (0, False, None)
        assert client.get("/v1/executions?parent=zzzz").status_code == 404
    with api.http("bob") as client:
        assert client.get(f"/v1/executions?parent={parent}").status_code == 404


def test_to_resume_and_to_be_parked_is_no_attempt(api: Api) -> None:
    """Only what failed before counts."""
    fid = make(api)
    api.sql(f"UPDATE executions SET resumed = 2, moves = 3, attempt = 5 WHERE fid = '{fid}'")
    with api.http() as client:
        found = client.get(f"/v1/executions/{fid}").json()
    assert (found["resumed"], found["attempt"], found["attempts"]) == (2, 2, 1)


def _number(api: Api, fid: str) -> int:
    found: int = api.call(api.parts.store.executions.get(fid)).id
    return found
