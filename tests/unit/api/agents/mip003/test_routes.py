"""MIP-003's endpoints: jobs, what they ask, and their results."""

import hashlib
from typing import Any

import pytest

from koco.store.model import FailureEvent
from tests.support.kodosumi_api import begin, execute
from tests.support.mip003 import AGENT, FORM, ORDER, Agents

GREET = "/mip003/svc/greet"
PAID = "/mip003/svc/paid"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def start(agents: Agents, path: str = GREET, key: str | None = "ada", **inputs: Any) -> Any:
    body = {"identifier_from_purchaser": ORDER, "input_data": inputs or {"who": "Ada"}}
    with agents.http(key) as client:
        return client.post(f"{path}/start_job", json=body)


def status(agents: Agents, job: str, path: str = GREET, key: str | None = "ada") -> Any:
    with agents.http(key) as client:
        return client.get(f"{path}/status", params={"job_id": job})


def test_a_free_job_is_launched_at_once(agents: Agents) -> None:
    """Its id is the fid, and the members of a payment are there without values."""
    answer = start(agents, who="Ada", tone=[1])
    assert answer.status_code == 200
    job = answer.json()
    assert job == {
        "id": job["id"],
        "blockchainIdentifier": "",
        "payByTime": 0,
        "submitResultTime": 0,
        "unlockTime": 0,
        "externalDisputeUnlockTime": 0,
        "agentIdentifier": "",
        "sellerVKey": "",
        "identifierFromPurchaser": ORDER,
        "input_hash": sha256(f'{ORDER};{{"tone":[1],"who":"Ada"}}'),
    }
    execution = agents.api.call(agents.api.parts.store.executions.get(job["id"]))
    assert (execution.flow, execution.user) == ("svc/greet", "ada")
    assert execution.inputs == {"who": "Ada", "tone": "harsh"}
    shown = status(agents, job["id"]).json()
    assert shown == {"id": f"{job['id']}.running", "status": "running"}


def test_the_purchasers_identifier_is_in_the_meta_event(agents: Agents) -> None:
    """So the people who run the flow can tell which order an execution belongs to."""
    job = start(agents).json()
    with agents.http() as client:
        events = client.get(f"/v1/executions/{job['id']}/events").text
    assert f'"identifier_from_purchaser":"{ORDER}"' in events
    assert f'"input_hash":"{job["input_hash"]}"' in events


def test_a_paid_job_waits_for_its_money(agents: Agents) -> None:
    """Its purchaser is told how to pay, and the execution has the id that was told."""
    job = start(agents, PAID).json()
    assert job["agentIdentifier"] == AGENT
    assert [job["blockchainIdentifier"]] == list(agents.service.states)
    assert job["payByTime"] < job["submitResultTime"] < job["unlockTime"]
    assert job["sellerVKey"]
    assert status(agents, job["id"], PAID).json()["status"] == "awaiting_payment"
    with agents.http() as client:
        assert client.get(f"/v1/executions/{job['id']}").status_code == 404
    agents.service.pay()
    agents.look()
    assert status(agents, job["id"], PAID).json()["status"] == "running"
    with agents.http() as client:
        assert client.get(f"/v1/executions/{job['id']}").json()["inputs"]["who"] == "Ada"


def test_a_job_that_was_not_paid_failed(agents: Agents) -> None:
    """Its result is the reason."""
    job = start(agents, PAID).json()
    agents.service.pay("FundsOrDatumInvalid")
    agents.look()
    shown = status(agents, job["id"], PAID).json()
    assert (shown["status"], shown["result"]) == ("failed", "its payment is FundsOrDatumInvalid")


def test_inputs_are_refused_before_anything_is_to_be_paid(agents: Agents) -> None:
    """With 400, as the standard says, and messages by field."""
    for path in (GREET, PAID):
        for given in ({"who": ""}, {"who": "Ada", "tone": [7]}, {"who": "Ada", "nobody": 1}):
            answer = start(agents, path, **given)
            assert answer.status_code == 400, given
            assert answer.json()["status"] == 400
            assert answer.json()["errors"]
    assert not agents.service.states


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"input_data": {"who": "Ada"}}',
        b'{"identifier_from_purchaser": 1, "input_data": {}}',
        b'{"identifier_from_purchaser": "", "input_data": {"who": "Ada"}}',
        b'{"identifier_from_purchaser": "a", "input_data": []}',
        b'{"identifier_from_purchaser": "a\\u0000", "input_data": {"who": "Ada"}}',
    ],
)
def test_refuses_orders_without_what_they_need(agents: Agents, body: bytes) -> None:
    """The identifier, and the inputs as an object."""
    with agents.http() as client:
        answer = client.post(f"{GREET}/start_job", content=body)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"type": "markdown", "body": "# Hi"}, "# Hi"),
        ("Hi", "Hi"),
        ({"a": [1, "ä"]}, '{"a":[1,"ä"]}'),
        (None, ""),
    ],
)
def test_a_result_is_a_text(agents: Agents, result: Any, text: str) -> None:
    """A response's body, a text as it is, and everything else as JSON."""
    fid = execute(agents.api, final=result, flow="svc/greet")
    assert status(agents, fid).json() == {
        "id": f"{fid}.completed",
        "status": "completed",
        "result": text,
    }


def test_a_failure_says_why(agents: Agents) -> None:
    """Without the traceback."""
    error = FailureEvent(type="ValueError", message="no such day", traceback="secret")
    fid = execute(agents.api, error=error)
    shown = status(agents, fid).json()
    assert (shown["status"], shown["result"]) == ("failed", "ValueError: no such day")


def lock(agents: Agents, fid: str, lid: str, name: str = "review") -> None:
    opened = agents.api.parts.store.locks.open(fid, lid, name=name, data=None, expires=4e9)
    agents.api.call(opened)


def provide(agents: Agents, body: dict[str, Any], key: str | None = "ada") -> Any:
    with agents.http(key) as client:
        return client.post(f"{GREET}/provide_input", json=body)


def test_one_question_is_a_plain_schema(agents: Agents) -> None:
    """The status has the lock's id, and the answer goes by that."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    shown = status(agents, fid).json()
    assert (shown["id"], shown["status"]) == ("lock1", "awaiting_input")
    [field] = shown["input_schema"]["input_data"]
    assert (field["id"], field["type"]) == ("why", "text")
    answer = provide(agents, {"job_id": fid, "status_id": "lock1", "input_data": {"why": "so"}})
    assert answer.json() == {"input_hash": sha256(';{"why":"so"}'), "signature": ""}
    found = agents.api.call(agents.api.parts.store.locks.get("lock1"))
    assert (found.status, found.answer, found.by) == ("answered", {"why": "so"}, "ada")
    assert status(agents, fid).json()["status"] == "running"


def test_several_questions_are_groups(agents: Agents) -> None:
    """The ids of their fields begin with the lock's, so that each answer finds its lock."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    lock(agents, fid, "lock2", "anything")
    shown = status(agents, fid).json()
    groups = shown["input_schema"]["input_groups"]
    assert [(each["id"], each["title"]) for each in groups] == [
        ("lock1", "review"),
        ("lock2", "anything"),
    ]
    ids = [field["id"] for group in groups for field in group["input_data"]]
    assert ids == ["lock1:why", "lock2:answer"]
    given = {"lock1:why": "so", "lock2:answer": '{"a": 1}'}
    answer = provide(agents, {"job_id": fid, "status_id": shown["id"], "input_data": given})
    assert answer.status_code == 200, answer.text
    get = agents.api.parts.store.locks.get
    assert agents.api.call(get("lock1")).answer == {"why": "so"}
    assert agents.api.call(get("lock2")).answer == {"a": 1}


def test_the_hash_of_further_input_is_under_the_jobs_identifier(agents: Agents) -> None:
    """MIP-004 has one identifier for all of a job."""
    job = start(agents).json()["id"]
    begin(agents.api, job)
    lock(agents, job, "lock1")
    answer = provide(agents, {"job_id": job, "status_id": "lock1", "input_data": {"why": "so"}})
    assert answer.json()["input_hash"] == sha256(f'{ORDER};{{"why":"so"}}')


@pytest.mark.parametrize("text", ["[" + "0," * 60_000 + "0]", '["' + "x" * (4 << 20) + '"]'])
def test_json_in_a_text_has_the_bounds_of_a_body(agents: Agents, text: str) -> None:
    """It would stop the control plane while it is decoded. The lock stays open."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1", "anything")
    given = {"job_id": fid, "status_id": "lock1", "input_data": {"answer": text}}
    assert provide(agents, given).status_code == 413
    assert agents.api.call(agents.api.parts.store.locks.get("lock1")).status == "open"


def test_refuses_answers_that_fit_nothing(agents: Agents) -> None:
    """The lock stays open, and the job goes on waiting."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    for given in (
        {"job_id": fid, "status_id": "lock1", "input_data": {"why": ""}},
        {"job_id": fid, "status_id": "old", "input_data": {"why": "so"}},
        {"job_id": fid, "input_data": {"why": "so"}},
        {"job_id": fid, "status_id": "old", "input_data": {}},
        {"status_id": "lock1", "input_data": {"why": "so"}},
    ):
        assert provide(agents, given).status_code == 400, given
    assert agents.api.call(agents.api.parts.store.locks.get("lock1")).status == "open"
    assert provide(agents, {"job_id": "x" * 16, "input_data": {"a": 1}}).status_code == 404


def test_refusals_of_groups_name_the_fields_as_the_schema_does(agents: Agents) -> None:
    """With the lock's id before."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    lock(agents, fid, "lock2")
    answer = provide(agents, {"job_id": fid, "input_data": {"lock1:why": "so", "lock2:why": ""}})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["lock2:why"]
    assert agents.api.call(agents.api.parts.store.locks.get("lock1")).status == "answered"


def test_tells_what_a_job_takes_and_whether_it_is_there(agents: Agents) -> None:
    """The schema, the availability, the demo, and the agent's metadata."""
    with agents.http() as client:
        schema = client.get(f"{GREET}/input_schema").json()
        availability = client.get(f"{GREET}/availability").json()
        demo = client.get(f"{GREET}/demo").json()
        about = client.get(GREET).json()
        none = client.get(f"{PAID}/demo")
        price = client.get(PAID).json()["agentPricing"]
    assert [each["id"] for each in schema["input_data"]] == [each["name"] for each in FORM]
    assert availability == {
        "status": "available",
        "type": "masumi-agent",
        "message": "Greeter is ready to accept jobs",
    }
    assert demo == {"input": {"who": "Ada"}, "output": {"result": "Hello"}}
    assert (about["name"], about["tags"]) == ("Greeter", ["hello"])
    assert about["api_url"] == f"{agents.api.url}{GREET}"
    assert none.status_code == 404
    assert price == [
        {"pricingType": "Fixed", "fixedPricing": [{"amount": "5", "unit": "lovelace"}]}
    ]


def test_a_flow_that_cannot_be_paid_is_unavailable(agents: Agents) -> None:
    """Its orders would be refused."""
    agents.api.parts.settings.masumi_url = ""
    with agents.http() as client:
        assert client.get(f"{PAID}/availability").json()["status"] == "unavailable"
    assert start(agents, PAID).status_code == 409


def test_a_flow_for_kodosumi_gets_texts(agents: Agents) -> None:
    """As its panel sends them: what nobody filled in is empty text."""
    job = start(agents, "/mip003/svc/old", who="Ada", tone=[1]).json()["id"]
    execution = agents.api.call(agents.api.parts.store.executions.get(job))
    assert execution.inputs["tone"] == "harsh"


def test_the_order_of_a_paid_job_is_in_the_audit_log(agents: Agents) -> None:
    """And so is its launch, with the same id."""
    job = start(agents, PAID).json()["id"]
    agents.service.pay()
    agents.look()
    agents.api.admit("dora", "admin")
    with agents.http("dora") as client:
        found = client.get("/v1/audit").json()["items"]
    assert ("launch", "ada", job) in [(e["action"], e["who"], e["target"]) for e in found]
    assert ("start_job", "ada", "ok") in [(e["action"], e["who"], e["outcome"]) for e in found]


def test_an_idempotency_key_starts_a_free_job_once(agents: Agents) -> None:
    """MIP-003 has none, and a purchaser's identifier need not be unique. koco's header counts."""
    body = {"identifier_from_purchaser": ORDER, "input_data": {"who": "Ada"}}
    with agents.http() as client:
        ids = {
            client.post(f"{GREET}/start_job", json=body, headers={"Idempotency-Key": "k"}).json()[
                "id"
            ]
            for _ in range(2)
        }
    assert len(ids) == 1
