"""Agents over JSON-RPC: launched, asked, answered, listed, cancelled."""

import time
from typing import Any

import httpx
import pytest

from koco.store.model import AuditQuery
from tests.support.api_server import Api
from tests.unit.api.agents.a2a.conftest import Agent, client_of

DATA = {"data": {"who": "Ada"}}


def state(task: Any) -> str:
    found: str = task["status"]["state"].removeprefix("TASK_STATE_")
    return found


def test_a_message_launches_the_flow_and_is_answered_with_its_result(api: Api) -> None:
    """The fid is the task's id; the answer comes when the task is over."""
    task = Agent(api).send(DATA)
    assert state(task) == "COMPLETED"
    [artifact] = task["artifacts"]
    assert artifact["parts"] == [{"text": "Hello, Ada", "mediaType": "text/plain"}]
    execution = api.call(api.parts.store.executions.get(task["id"]))
    assert (execution.flow, execution.user) == ("svc/greet", "ada")
    assert execution.inputs["who"] == "Ada"


def test_a_text_is_the_value_of_the_only_text_field(api: Api) -> None:
    """Or the inputs as JSON."""
    greet = Agent(api)
    for part in (
        {"text": "Bob"},
        {"text": '{"who": "Bob", "times": 2}'},
        {"text": '{"who": "Bob"}', "mediaType": "application/json"},
    ):
        assert greet.send(part)["artifacts"][0]["parts"][0]["text"] == "Hello, Bob"


def test_a_message_that_is_sent_again_finds_its_task(api: Api) -> None:
    """Its id is the launch's idempotency key."""
    greet = Agent(api)
    params = {"message": greet.message(DATA)}
    first, again = (greet.ask("SendMessage", params)["task"]["id"] for _ in range(2))
    assert first == again


def test_names_may_be_those_of_the_proto_file(api: Api) -> None:
    """And a null is no value."""
    message = {"message_id": "snake", "role": "ROLE_USER", "parts": [{**DATA, "filename": None}]}
    params = {"message": message, "configuration": {"return_immediately": "true"}}
    assert Agent(api).ask("SendMessage", params)["task"]["id"]


def test_a_task_asks_and_a_message_answers(api: Api) -> None:
    """Its question has the form of the answer; the history has both."""
    ask = Agent(api, "ask")
    task = ask.send({"data": {}})
    assert state(task) == "INPUT_REQUIRED"
    text, data = task["status"]["message"]["parts"]
    assert text["text"] == "approval?"
    assert data["data"]["data"] == {"page": 1}
    assert [each["name"] for each in data["data"]["form"]] == ["ok", "note"]
    assert data["data"]["schema"]["properties"]["ok"] == {"type": "boolean", "default": False}
    answer = {"data": {"ok": True}}
    task = ask.send(answer, {"text": "fine"}, taskId=task["id"], contextId=task["contextId"])
    assert task["status"]["message"]["parts"][0]["text"] == "word?"
    lock = task["status"]["message"]["parts"][1]["data"]["lock"]
    task = ask.send({"text": "hey"}, taskId=task["id"], metadata={"lock": lock})
    assert state(task) == "COMPLETED"
    expected = {"approval": {"ok": True, "note": "fine"}, "word": "hey"}
    assert task["artifacts"][0]["parts"][0]["data"] == expected
    said = [(each["role"], each["parts"][0].get("text")) for each in task["history"]]
    assert said == [
        ("ROLE_USER", None),
        ("ROLE_AGENT", "approval?"),
        ("ROLE_USER", None),
        ("ROLE_AGENT", "word?"),
        ("ROLE_USER", "hey"),
    ]
    ids = [each["messageId"] for each in task["history"]]
    assert len(set(ids)) == len(ids)
    short = ask.ask("GetTask", {"id": task["id"], "historyLength": 2})
    assert [each["messageId"] for each in short["history"]] == ids[-2:]
    assert "history" not in ask.ask("GetTask", {"id": task["id"], "historyLength": 0})


def test_an_answer_that_the_form_refuses_leaves_the_question_open(api: Api) -> None:
    """The error names the field."""
    ask = Agent(api, "ask")
    task = ask.send({"data": {}})
    message = ask.message({"data": {"ok": "perhaps"}}, taskId=task["id"])
    error = ask.error("SendMessage", {"message": message})
    assert error["code"] == -32602
    assert error["data"][1]["fieldViolations"][0]["field"] == "ok"
    assert state(ask.ask("GetTask", {"id": task["id"]})) == "INPUT_REQUIRED"


def test_inputs_that_the_form_refuses_launch_nothing(api: Api) -> None:
    """The error has a message for each field."""
    error = Agent(api).error("SendMessage", {"message": Agent(api).message({"data": {"who": 1}})})
    assert error["code"] == -32602
    info, refusal = error["data"]
    assert info["metadata"]["code"] == "invalid_inputs"
    assert refusal["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [each["field"] for each in refusal["fieldViolations"]] == ["who"]


@pytest.mark.parametrize("kind", ["", "application/json"])
def test_json_in_a_text_has_the_bounds_of_a_body(api: Api, kind: str) -> None:
    """It would stop the control plane while it is decoded."""
    part = {"text": '{"who": [' + "0," * 60_000 + "0]}", "mediaType": kind}
    for agent in (Agent(api), Agent(api, "ask")):
        message = agent.message(part)
        assert "max_body_values" in agent.error("SendMessage", {"message": message})["message"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "message"),
        ({"message": {"messageId": "x", "role": "ROLE_USER", "parts": []}}, "message.parts"),
        ({"message": {"messageId": "x", "role": "ROLE_USER", "parts": [{}]}}, "message.parts[0]"),
        (
            {"message": {"messageId": "x", "role": "ROLE_USER", "parts": [{"text": 1}]}},
            "message.parts[0].text",
        ),
        ({"message": {"messageId": "", "role": "ROLE_USER", "parts": [DATA]}}, "message.messageId"),
        ({"message": {"messageId": "x", "role": "ROLE_AGENT", "parts": [DATA]}}, "message.role"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_field(api: Api, params: Any, field: str) -> None:
    """As a violation, whatever is wrong with it."""
    error = Agent(api).error("SendMessage", params)
    assert error["code"] == -32602
    if params:
        assert error["data"][1]["fieldViolations"][0]["field"] == field


def test_a_file_is_refused_where_the_flow_takes_none(api: Api) -> None:
    """So is a type that does not fit its part."""
    greet = Agent(api)
    for part in (
        {"raw": "AAAA", "mediaType": "image/png"},
        {"url": "https://example.com/x"},
        {"text": "x", "mediaType": "image/png"},
    ):
        error = greet.error("SendMessage", {"message": greet.message(part)})
        assert error["code"] == -32005, part
        assert error["data"][0]["reason"] == "CONTENT_TYPE_NOT_SUPPORTED"


def test_a_file_in_a_message_is_a_file_of_the_execution(api: Api) -> None:
    """Its bytes are base64."""
    task = Agent(api, "files").send({"raw": "aGk=", "filename": "a.txt", "mediaType": "text/plain"})
    assert task["artifacts"][0]["parts"][0]["data"] == {"paper": "in/a.txt"}
    execution = api.call(api.parts.store.executions.get(task["id"]))
    [file] = api.call(api.parts.store.files.all_of(execution.id))
    assert (file.path, file.size_bytes) == ("in/a.txt", 2)


def test_a_path_is_no_file(api: Api) -> None:
    """The card and the error both say how a file is sent."""
    files = Agent(api, "files")
    error = files.error("SendMessage", {"message": files.message({"data": {"paper": "a.txt"}})})
    assert error["message"].startswith("paper: is a file, which is a part of its own")
    assert "koco run" not in error["message"]
    with client_of(api) as client:
        card = client.get(f"{files.path}/.well-known/agent-card.json").json()
    [extension] = card["capabilities"]["extensions"]
    assert (
        "a part of its own" in extension["params"]["inputs"]["properties"]["paper"]["description"]
    )


def test_an_error_of_the_flow_is_told(api: Api) -> None:
    """Without its traceback."""
    task = Agent(api, "fail").send({"data": {}})
    assert state(task) == "FAILED"
    assert task["status"]["message"]["parts"][0]["text"] == "ValueError: no"


def test_what_was_said_on_the_way_is_an_artifact(api: Api) -> None:
    """Beside the result."""
    task = Agent(api, "stream").send({"data": {}})
    said, result = task["artifacts"]
    assert said["artifactId"] == "results"
    assert [each.get("text", each.get("data")) for each in said["parts"]] == [
        "chunk 1",
        {"chunk": 2},
    ]
    assert result["parts"] == [{"text": "# Done", "mediaType": "text/markdown"}]


def test_accepted_media_types_decide_how_results_are_shown(api: Api) -> None:
    """Plain text if that is all that is accepted."""
    stream = Agent(api, "stream")
    wish = {"acceptedOutputModes": ["text/plain"]}
    params = {"message": stream.message({"data": {}}), "configuration": wish}
    said, result = stream.ask("SendMessage", params)["task"]["artifacts"]
    assert said["parts"][1] == {"text": '{"chunk": 2}', "mediaType": "text/plain"}
    assert result["parts"] == [{"text": "# Done", "mediaType": "text/plain"}]


def test_a_task_is_cancelled(api: Api) -> None:
    """Once: then it is over, and no message reaches it."""
    wait = Agent(api, "wait")
    task = wait.send({"data": {}}, now=True)
    assert state(task) == "SUBMITTED"
    assert state(wait.ask("CancelTask", {"id": task["id"]})) == "CANCELED"
    assert wait.error("CancelTask", {"id": task["id"]})["code"] == -32002
    message = wait.message({"text": "x"}, taskId=task["id"])
    assert wait.error("SendMessage", {"message": message})["code"] == -32004
    assert wait.error("SubscribeToTask", {"id": task["id"]})["code"] == -32004


def test_a_task_that_asks_nothing_takes_no_message(api: Api) -> None:
    """The error says what it does."""
    wait = Agent(api, "wait")
    task = wait.send({"data": {}}, now=True)
    message = wait.message({"text": "x"}, taskId=task["id"])
    error = wait.error("SendMessage", {"message": message})
    assert error["code"] == -32004
    assert "it is queued" in error["message"]


def test_tasks_are_listed_by_context_and_state(api: Api) -> None:
    """The one that changed last first, in pages, with the number of all."""
    greet = Agent(api)
    ids = [greet.send(DATA, contextId="talk-1")["id"] for _ in range(3)]
    page = greet.ask("ListTasks", {"contextId": "talk-1", "pageSize": 2})
    assert [each["id"] for each in page["tasks"]] == [ids[2], ids[1]]
    assert (page["pageSize"], page["totalSize"]) == (2, 3)
    assert all("artifacts" not in each and "history" not in each for each in page["tasks"])
    token = page["nextPageToken"]
    rest = greet.ask("ListTasks", {"contextId": "talk-1", "pageSize": 2, "pageToken": token})
    assert [each["id"] for each in rest["tasks"]] == [ids[0]]
    assert (rest["nextPageToken"], rest["totalSize"]) == ("", 3)
    asked = {"contextId": "talk-1", "status": "TASK_STATE_COMPLETED", "includeArtifacts": True}
    assert greet.ask("ListTasks", asked)["tasks"][0]["artifacts"]
    for nothing in ("TASK_STATE_WORKING", "TASK_STATE_REJECTED"):
        found = greet.ask("ListTasks", {"contextId": "talk-1", "status": nothing})
        assert (found["tasks"], found["totalSize"]) == ([], 0)
    late = {"contextId": "talk-1", "statusTimestampAfter": "2999-01-01T00:00:00Z"}
    assert greet.ask("ListTasks", late)["tasks"] == []
    assert greet.error("ListTasks", {"status": "WORKING"})["code"] == -32602
    assert greet.error("ListTasks", {"pageSize": 101})["code"] == -32602


def test_an_execution_that_was_launched_otherwise_is_a_task_as_well(api: Api) -> None:
    """It is a context of its own."""
    fid = api.execution(flow="svc/greet")
    greet = Agent(api)
    assert greet.ask("GetTask", {"id": fid})["contextId"] == fid
    assert [each["id"] for each in greet.ask("ListTasks", {"contextId": fid})["tasks"]] == [fid]


def test_a_context_that_is_not_the_tasks_is_refused(api: Api) -> None:
    ask = Agent(api, "ask")
    task = ask.send({"data": {}})
    message = ask.message({"text": "x"}, taskId=task["id"], contextId="another")
    assert ask.error("SendMessage", {"message": message})["code"] == -32602


def test_the_agent_of_all_flows_launches_the_one_that_is_named(api: Api) -> None:
    """By the id of its skill."""
    every = Agent(api, "")
    task = every.send(DATA, metadata={"flow": "svc/greet"})
    assert task["metadata"]["flow"] == "svc/greet"
    assert every.ask("GetTask", {"id": task["id"]})["id"] == task["id"]
    assert task["id"] in [each["id"] for each in every.ask("ListTasks")["tasks"]]
    for metadata in ({}, {"flow": "svc/apart"}, {"flow": "svc/none"}):
        error = every.error("SendMessage", {"message": every.message(DATA, metadata=metadata)})
        assert error["data"][1]["fieldViolations"][0]["field"] == "message.metadata.flow"
        assert "svc/greet" in error["data"][0]["metadata"]["hint"]


def test_what_the_caller_may_not_see_does_not_exist(api: Api) -> None:
    """Neither others' tasks, nor another agent's, nor flows that are not exposed."""
    task = Agent(api).send(DATA)["id"]
    for method in ("GetTask", "CancelTask", "SubscribeToTask"):
        for agent in (Agent(api, key="bob"), Agent(api, "ask"), Agent(api)):
            asked = {"id": task if agent.path.endswith("ask") else task[:-1] + "!"}
            assert agent.error(method, asked)["code"] == -32001
    assert Agent(api, key="bob").error("GetTask", {"id": task})["code"] == -32001
    for agent in (Agent(api, "apart"), Agent(api, "none"), Agent(api, key="limited")):
        answer = agent.post("ListTasks")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32602)
    assert Agent(api, "", key="limited").ask("ListTasks")["tasks"] == []


def test_keys_and_scopes_are_those_of_the_api(api: Api) -> None:
    """401 without a key; a key that may only read launches, answers and cancels nothing."""
    answer = Agent(api, key="wrong").post("ListTasks")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["data"][0]["reason"] == "UNAUTHENTICATED"
    reader = Agent(api, key="reader")
    message = reader.message(DATA)
    for method, params in (
        ("SendMessage", {"message": message}),
        ("SendStreamingMessage", {"message": message}),
        ("SendMessage", {"message": {**message, "taskId": "x"}}),
        ("CancelTask", {"id": "x"}),
    ):
        answer = reader.post(method, params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, -32011), method
    assert reader.ask("ListTasks")["tasks"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "GetTask"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tasks/get"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": []}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}}', -32602),
    ],
)
def test_bodies_that_are_no_requests_are_refused(api: Api, body: bytes, code: int) -> None:
    """With JSON-RPC's own codes."""
    headers = {"Content-Type": "application/json"}
    with client_of(api) as client:
        answer = client.post("/a2a/svc/greet", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == code


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    headers = {"Content-Type": "text/plain"}
    with client_of(api) as client:
        answer = client.post("/a2a/svc/greet", content=b"{}", headers=headers)
    assert answer.json()["error"]["code"] == -32005


@pytest.mark.parametrize("version", ["0.3", "", "99.0", "1.1"])
def test_other_versions_of_the_protocol_are_refused(api: Api, version: str) -> None:
    """None at all means 0.3."""
    error = Agent(api).post("ListTasks", **{"A2A-Version": version}).json()["error"]
    assert error["code"] == -32009
    assert error["data"][0]["domain"] == "a2a-protocol.org"


def test_patch_versions_are_the_same_version(api: Api) -> None:
    assert "result" in Agent(api).post("ListTasks", **{"A2A-Version": "1.0.1"}).json()


def test_the_audit_log_has_launches_answers_and_refusals_but_no_reads(api: Api) -> None:
    """As over /v1."""
    ask = Agent(api, "ask")
    task = ask.send({"data": {}})
    ask.ask("GetTask", {"id": task["id"]})
    ask.send({"data": {"ok": True}}, taskId=task["id"])
    ask.error("CancelTask", {"id": "nothing"})
    page = api.call(api.parts.store.audit.page(AuditQuery(), limit=3))
    found = [(each.action, each.outcome, each.target) for each in page.items]
    lock = found[1][2].partition("/")[2]
    assert found == [
        ("cancel_execution", "task_not_found", "nothing"),
        ("answer_lock", "ok", f"{task['id']}/{lock}"),
        ("launch", "ok", task["id"]),
    ]


def test_a_client_that_hangs_up_ends_nothing_but_its_request(api: Api) -> None:
    """The task goes on, and the request is no open stream any more."""
    wait = Agent(api, "wait")
    params = {"message": wait.message({"data": {}}, contextId="hung up")}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    with client_of(api) as client, pytest.raises(httpx.ReadTimeout):
        client.post(wait.path, json=body, timeout=0.3)
    [task] = wait.ask("ListTasks", {"contextId": "hung up"})["tasks"]
    assert state(task) == "SUBMITTED"
    until = time.monotonic() + 10
    while len(api.parts.streams) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(api.parts.streams) == 0


def test_no_more_requests_wait_than_may_be_open(api: Api) -> None:
    """429, and nothing is launched."""
    wait = Agent(api, "wait")
    settings = api.parts.settings
    kept, settings.max_streams_per_key = settings.max_streams_per_key, 0
    try:
        for method in ("SendMessage", "SendStreamingMessage"):
            params = {"message": wait.message({"data": {}}, contextId="full")}
            answer = wait.post(method, params)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, -32012)
            assert answer.headers["retry-after"]
    finally:
        settings.max_streams_per_key = kept
    assert wait.ask("ListTasks", {"contextId": "full"})["tasks"] == []
