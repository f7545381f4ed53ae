"""Sumi, as Kodosumi 1.2 answers: the shapes are those of its own models."""

import hashlib
from typing import Any

import msgspec

from koco.store.model import FailureEvent
from tests.support.kodosumi_api import execute
from tests.support.masumi_service import VKEY
from tests.support.mip003 import AGENT, ORDER, Agents

#: The members of each of Kodosumi's answers.
ITEM = {
    *("id", "parent", "name", "display", "api_url", "tags", "agentPricing", "metadata_version"),
    *("description", "image", "example_output", "author", "capability", "legal", "network"),
    "state",
}
STATUS = {
    *("job_id", "status", "input_schema", "result", "error", "input_hash"),
    *("blockchainIdentifier", "payByTime", "submitResultTime", "unlockTime"),
    *("externalDisputeUnlockTime", "agentIdentifier", "sellerVKey", "identifierFromPurchaser"),
    *("startedAt", "updatedAt", "runtime"),
}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def get(agents: Agents, path: str, **query: Any) -> Any:
    with agents.http() as client:
        return client.get(path, params=query)


def post(agents: Agents, path: str, body: Any) -> Any:
    with agents.http() as client:
        return client.post(path, json=body)


def start(agents: Agents, name: str = "greet", **inputs: Any) -> Any:
    body = {"identifier_from_purchaser": ORDER, "input_data": inputs or {"who": "Ada"}}
    return post(agents, f"/sumi/svc/{name}/start_job", body).json()


def lock(agents: Agents, fid: str, lid: str, name: str = "review") -> None:
    opened = agents.api.parts.store.locks.open(fid, lid, name=name, data=None, expires=4e9)
    agents.api.call(opened)


def test_lists_the_flows_in_pages(agents: Agents) -> None:
    """By id; the offset is that of the last one, null on the last page."""
    first = get(agents, "/sumi", pp=2).json()
    assert [each["id"] for each in first["items"]] == ["svc/greet", "svc/old"]
    second = get(agents, "/sumi", pp=2, offset=first["offset"]).json()
    assert [each["id"] for each in second["items"]] == ["svc/open", "svc/paid"]
    assert second["offset"] is None
    assert get(agents, "/sumi", expose="other").json() == {"items": [], "offset": None}


def test_describes_a_flow_as_kodosumi_does(agents: Agents) -> None:
    """With all members, and the network of one that is registered."""
    greet = get(agents, "/sumi/svc/greet").json()
    assert greet.keys() >= ITEM
    assert (greet["parent"], greet["name"], greet["display"]) == ("svc", "greet", "Greeter")
    assert greet["api_url"] == f"{agents.api.url}/sumi/svc/greet"
    assert (greet["network"], greet["state"], greet["metadata_version"]) == (None, "alive", 1)
    assert get(agents, "/sumi/svc/paid").json()["network"] == "Preprod"


def test_a_flow_that_is_not_there_is_unavailable(agents: Agents) -> None:
    """And one that is there is available, as is the schema of its inputs."""
    assert get(agents, "/sumi/svc/greet/availability").json()["status"] == "available"
    for path in ("/sumi/svc/own/availability", "/sumi/nobody/availability"):
        assert get(agents, path).json()["status"] == "unavailable"
    fields = get(agents, "/sumi/svc/greet/input_schema").json()["input_data"]
    assert [each["id"] for each in fields] == ["who", "tone"]
    assert all({"id", "type", "name", "data", "validations"} == each.keys() for each in fields)


def test_a_job_answers_with_its_status(agents: Agents) -> None:
    """A free one runs, a paid one says how it is paid."""
    free = start(agents)
    assert free.keys() == STATUS
    assert (free["status"], free["blockchainIdentifier"]) == ("running", None)
    assert free["input_hash"] == sha256(f'{ORDER};{{"who":"Ada"}}')
    paid = start(agents, "paid")
    assert paid.keys() == STATUS
    assert (paid["status"], paid["agentIdentifier"], paid["sellerVKey"]) == (
        "awaiting_payment",
        AGENT,
        VKEY,
    )
    agents.service.pay()
    agents.look()
    assert get(agents, f"/sumi/svc/paid/status/{paid['job_id']}").json()["status"] == "running"


def test_refused_inputs_are_a_failed_job(agents: Agents) -> None:
    """Kodosumi refuses them in the answer's body. Other names are ignored."""
    refused = start(agents, who="")
    assert refused == {"status": "failed", "error": "who: is required"}
    assert start(agents, who="Ada", nobody=1)["status"] == "running"


def test_a_job_is_shown_by_query_and_by_path(agents: Agents) -> None:
    """With its result as text, and its times in seconds."""
    fid = execute(agents.api, final={"type": "text", "body": "Hi"})
    by_query = get(agents, "/sumi/svc/greet/status", job_id=fid).json()
    assert by_query == get(agents, f"/sumi/svc/greet/status/{fid}").json()
    assert (by_query["status"], by_query["result"]) == ("completed", "Hi")
    assert by_query["runtime"] == by_query["updatedAt"] - by_query["startedAt"]
    failed = execute(agents.api, error=FailureEvent(type="ValueError", message="no"))
    shown = get(agents, f"/sumi/svc/greet/status/{failed}").json()
    assert (shown["status"], shown["error"], shown["result"]) == ("failed", "ValueError: no", None)
    for path in ("/sumi/svc/greet/status/nobody", f"/sumi/svc/paid/status/{fid}"):
        assert get(agents, path).status_code == 404


def test_questions_are_groups_also_if_there_is_one(agents: Agents) -> None:
    """The answer's hash is under the job's id, and is the signature, too."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    shown = get(agents, f"/sumi/svc/greet/status/{fid}").json()
    [group] = shown["input_schema"]["input_groups"]
    assert (shown["status"], group["id"], group["title"]) == ("awaiting_input", "lock1", "review")
    assert [each["id"] for each in group["input_data"]] == ["lock1:why"]
    body = {"job_id": fid, "input_schema_hash": "x", "input_data": {"lock1:why": "so"}}
    answer = post(agents, "/sumi/svc/greet/provide_input", body)
    found = sha256(f'{fid};{{"lock1:why":"so"}}')
    assert (answer.status_code, answer.json()) == (201, {"input_hash": found, "signature": found})
    assert agents.api.call(agents.api.parts.store.locks.get("lock1")).answer == {"why": "so"}


def test_input_is_accepted_if_one_answer_is(agents: Agents) -> None:
    """It is refused if none is."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    lock(agents, fid, "lock2")
    url = "/sumi/svc/greet/provide_input"
    refused = {"job_id": fid, "input_data": {"lock1:why": "", "lock2:why": ""}}
    assert post(agents, url, refused).status_code == 400
    mixed = {"job_id": fid, "input_data": {"lock1:why": "so", "lock2:why": ""}}
    assert post(agents, url, mixed).status_code == 201
    get_lock = agents.api.parts.store.locks.get
    assert agents.api.call(get_lock("lock1")).status == "answered"
    assert agents.api.call(get_lock("lock2")).status == "open"


def test_a_lock_is_shown_and_answered_by_itself(agents: Agents) -> None:
    """Its ids are those of the job and the lock."""
    fid = execute(agents.api, ends=False)
    lock(agents, fid, "lock1")
    shown = get(agents, f"/sumi/lock/{fid}/lock1").json()
    assert (shown["job_id"], shown["status_id"], shown["status"]) == (fid, "lock1", "pending")
    assert (shown["expires_at"], shown["prompt"]) == (4e9, "review")
    assert [each["id"] for each in shown["input_schema"]["input_data"]] == ["why"]
    assert post(agents, f"/sumi/lock/{fid}/lock1", {"input_data": {}}).status_code == 400
    answer = post(agents, f"/sumi/lock/{fid}/lock1", {"input_data": {"why": "so"}})
    assert answer.json()["input_hash"] == sha256(f'{fid}:lock1;{{"why":"so"}}')
    shown = get(agents, f"/sumi/lock/{fid}/lock1").json()
    assert (shown["status"], shown["input_schema"]) == ("released", {"input_data": None})
    again = post(agents, f"/sumi/lock/{fid}/lock1", {"input_data": {"why": "so"}})
    assert again.status_code == 404


def test_a_flow_at_the_root_has_no_name(agents: Agents) -> None:
    """Nor has the only flow that a service offers."""
    catalog = agents.api.parts.catalog
    release = catalog.release("svc")
    only = [each for each in release.flows if each.name == "greet"]
    catalog.put(msgspec.structs.replace(release, flows=only))
    body = {"identifier_from_purchaser": ORDER, "input_data": {"who": "Ada"}}
    job = post(agents, "/sumi/svc/start_job", body).json()
    assert job["status"] == "running"
    assert get(agents, f"/sumi/svc/status/{job['job_id']}").json()["job_id"] == job["job_id"]
    assert get(agents, "/sumi/svc/availability").json()["status"] == "available"
    assert get(agents, "/sumi/svc/input_schema").json()["input_data"]
    root = msgspec.structs.replace(only[0], name="svc")
    catalog.put(msgspec.structs.replace(release, flows=[*release.flows, root]))
    about = get(agents, "/sumi/svc").json()
    assert (about["id"], about["name"]) == ("svc", "")
    assert about["api_url"] == f"{agents.api.url}/sumi/svc"


def test_kodosumis_header_has_the_key(agents: Agents) -> None:
    """Its clients know no other."""
    with agents.http(None) as client:
        client.headers["KODOSUMI_API_KEY"] = "ada"
        assert len(client.get("/sumi").json()["items"]) == 4
        client.headers["KODOSUMI_API_KEY"] = "wrong"
        assert client.get("/sumi").status_code == 401
