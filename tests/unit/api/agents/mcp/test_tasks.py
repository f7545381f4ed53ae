"""The tasks extension, and the streams that tell of tasks, tools and resources."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.mcp_client import TASKS, McpClient

ABLE = {"extensions": {TASKS: {}}, "elicitation": {}}


@pytest.fixture
def able(api: Api) -> Iterator[McpClient]:
    """A client that knows tasks and can ask a person."""
    with McpClient(api.url, capabilities=ABLE) as client:
        yield client


def settled(client: McpClient, fid: str, *statuses: str) -> Any:
    """Return a task once it has one of the statuses."""
    until = time.monotonic() + 20
    while (task := client.ask("tasks/get", taskId=fid))["status"] not in statuses:
        assert time.monotonic() < until, task
        time.sleep(0.05)
    return task


def test_a_long_call_becomes_a_task(able: McpClient) -> None:
    """Its id is the fid; while it works it says how far it is, and in the end it has the result."""
    made = able.call("svc.slow", {"steps": 2, "pause": 0.9})
    assert (made["resultType"], made["status"], made["ttlMs"]) == ("task", "working", None)
    fid = made["taskId"]
    now = able.ask("tasks/get", taskId=fid)
    assert (now["resultType"], now["statusMessage"][1:]) == ("complete", "/3 working")
    task = settled(able, fid, "completed")
    assert task["result"]["content"][0]["text"] == "done"
    assert "resultType" not in task["result"]


def test_an_awaiting_task_asks_and_is_answered(able: McpClient) -> None:
    """Wrong answers are refused, unknown keys ignored, and the right one lets it go on."""
    fid = able.call("svc.review")["taskId"]
    task = settled(able, fid, "input_required")
    ((lid, question),) = task["inputRequests"].items()
    assert question["method"] == "elicitation/create"

    def answer(**responses: Any) -> Any:
        return able.messages("tasks/update", taskId=fid, inputResponses=responses)[-1]

    assert answer(nobody={"action": "accept"})["result"]["resultType"] == "complete"
    assert answer(**{lid: {"action": "cancel"}})["result"]
    wrong = answer(**{lid: {"action": "accept", "content": {"stars": 9}}})
    assert (wrong["error"]["code"], list(wrong["error"]["data"]["errors"])) == (-32602, ["stars"])
    assert settled(able, fid, "input_required")["inputRequests"].keys() == {lid}
    assert answer(**{lid: {"action": "accept", "content": {"stars": 4}}})["result"]
    task = settled(able, fid, "completed")
    assert task["result"]["structuredContent"]["stars"] == 4


def test_json_in_a_text_has_the_bounds_of_a_body(able: McpClient) -> None:
    """An answer is a text, or any JSON value in it."""
    fid = able.call("svc.free")["taskId"]
    ((lid, _),) = settled(able, fid, "input_required")["inputRequests"].items()

    def answer(text: str) -> Any:
        responses = {lid: {"action": "accept", "content": {"answer": text}}}
        message = able.message("tasks/update", taskId=fid, inputResponses=responses)
        return able.send(message)

    refused = answer("[" + "0," * 60_000 + "0]")
    assert (refused.status_code, refused.json()["code"]) == (413, "limit")
    assert settled(able, fid, "input_required")["inputRequests"].keys() == {lid}
    assert answer("[1,2]").json()["result"]
    assert settled(able, fid, "completed")["result"]["content"][0]["text"] == "[1, 2]"


def test_an_error_of_the_flow_completes_its_task(api: Api, able: McpClient) -> None:
    """`failed` is for errors of the protocol."""
    fid = able.call("svc.never")["taskId"]
    api.sql(f"UPDATE executions SET status = 'error' WHERE fid = '{fid}'")
    task = able.ask("tasks/get", taskId=fid)
    assert (task["status"], task["result"]["isError"]) == ("completed", True)


def test_a_task_can_be_cancelled(api: Api, able: McpClient) -> None:
    """The acknowledgement is empty, also once it has ended."""
    fid = able.call("svc.never")["taskId"]
    for _ in range(2):
        found = able.ask("tasks/cancel", taskId=fid)
        assert {key for key in found if key != "_meta"} == {"resultType"}
        task = settled(able, fid, "cancelled")
    assert "result" not in task
    with api.http("boss") as boss:
        entries = boss.get("/v1/audit").json()["items"]
    own = [each for each in entries if each["target"] == fid]
    assert [(each["action"], each["outcome"]) for each in own] == [
        *(("cancel_execution", "conflict"), ("cancel_execution", "ok"), ("launch", "ok")),
    ]


def test_only_a_client_that_knows_tasks_may_ask_for_them(api: Api, client: McpClient) -> None:
    """And only for those that the caller may see."""
    fid = client.call("svc.count")["_meta"]["koco/fid"]
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        answer = client.send(client.message(method, taskId=fid))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32021)
        needed = answer.json()["error"]["data"]["requiredCapabilities"]
        assert needed == {"extensions": {TASKS: {}}}
    for key, name in (("bob", fid), ("ada", fid[:-1]), ("ada", "latest"), ("ada", "")):
        with McpClient(api.url, key, capabilities=ABLE) as other:
            answer = other.send(other.message("tasks/get", taskId=name))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)


@contextmanager
def listening(client: McpClient, **notifications: Any) -> Iterator[Iterator[Any]]:
    """Yield the messages of a stream, as they come."""
    message = client.message("subscriptions/listen", notifications=notifications)
    with client.http.stream(
        "POST", "/mcp", json=message, headers=client.headers(message)
    ) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def test_a_stream_tells_of_tasks(able: McpClient, api: Api) -> None:
    """First what was agreed to, then each task as `tasks/get` would have it."""
    fid = able.call("svc.slow", {"steps": 2, "pause": 0.8})["taskId"]
    with listening(able, taskIds=[fid, "none"], promptsListChanged=True) as messages:
        first = next(messages)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"taskIds": [fid]}
        id_ = first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
        found = []
        while not found or found[-1]["status"] != "completed":
            each = next(messages)
            assert each["method"] == "notifications/tasks"
            assert each["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == id_
            found.append(each["params"])
    assert found[0]["status"] == "working"
    assert found[-1]["result"]["content"][0]["text"] == "done"
    with McpClient(api.url) as other:
        message = other.message("subscriptions/listen", notifications={"taskIds": [fid]})
        assert other.send(message).json()["error"]["code"] == -32021


def test_a_stream_tells_that_tools_have_changed(api: Api, client: McpClient) -> None:
    """As soon as a release goes live, or is gone."""
    with listening(client, toolsListChanged=True) as messages:
        assert next(messages)["params"]["notifications"] == {"toolsListChanged": True}
        assert api.parts.catalog.watchers

        async def remove() -> Any:
            release = api.parts.catalog.release("svc")
            api.parts.catalog.remove("svc")
            return release

        release = api.call(remove())
        try:
            assert next(messages)["method"] == "notifications/tools/list_changed"
        finally:
            api.loop.call_soon_threadsafe(api.parts.catalog.put, release)
    until = time.monotonic() + 10
    while api.parts.catalog.watchers and time.monotonic() < until:
        time.sleep(0.02)
    assert not api.parts.catalog.watchers


def test_a_stream_tells_of_resources(able: McpClient) -> None:
    """Whenever there is a new event of the execution."""
    fid = able.call("svc.slow", {"steps": 2, "pause": 0.8})["taskId"]
    uri = f"koco://executions/{fid}"
    with listening(able, resourceSubscriptions=[uri, "koco://executions/none"]) as messages:
        assert next(messages)["params"]["notifications"] == {"resourceSubscriptions": [uri]}
        found = next(messages)
        assert found["method"] == "notifications/resources/updated"
        assert found["params"]["uri"] == uri


def test_each_method_takes_the_scope_that_it_takes_elsewhere(api: Api) -> None:
    """A key that may only read lists and looks; what is others' does not exist for it."""
    api.admit("onlooker", "read", sees_all=True)
    api.admit("stranger", "read", "launch", "deploy")
    with McpClient(api.url, capabilities=ABLE) as client:
        fid = client.call("svc.review")["taskId"]
        settled(client, fid, "input_required")
    with McpClient(api.url, "onlooker", capabilities=ABLE) as reader:
        task = reader.ask("tasks/get", taskId=fid)
        given = {lid: {"action": "accept", "content": {}} for lid in task["inputRequests"]}
        changes: list[tuple[str, dict[str, Any]]] = [
            ("tools/call", {"name": "svc.greet", "arguments": {"who": "Ada"}}),
            ("tasks/update", {"taskId": fid, "inputResponses": given}),
            ("tasks/cancel", {"taskId": fid}),
        ]
        for method, params in changes:
            answer = reader.send(reader.message(method, **params))
            assert answer.status_code == 403, method
            assert answer.json()["detail"] == "'onlooker' has no scope 'launch'"
    with McpClient(api.url, "stranger", capabilities=ABLE) as stranger:
        for method, params in changes[1:]:
            answer = stranger.send(stranger.message(method, **params))
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32602)
    with McpClient(api.url, "") as nobody:
        for method, params in changes:
            assert nobody.send(nobody.message(method, **params)).status_code == 401
    with McpClient(api.url, capabilities=ABLE) as client:
        assert client.ask("tasks/get", taskId=fid)["status"] == "input_required"
