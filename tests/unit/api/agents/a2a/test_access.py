"""Every route and operation of A2A: without a key, with each scope, by others, by limited keys.

The tests fail for a route or an operation that is not in the tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from koco.api.agents.a2a.app import PUBLIC, make_routes
from koco.api.agents.a2a.operations.table import OPERATIONS
from koco.control.access.login_throttle import Attempts
from koco.store.model import NewExecution
from tests.support.api_server import Api, serving
from tests.support.whole_api import complete
from tests.unit.api.agents.a2a.conftest import client_of


@dataclass(frozen=True)
class Call:
    """A call: the scope that it takes, and its parameters. `{fid}` is a new execution of Ada's."""

    scope: str
    params: Any
    #: What it is over HTTP+JSON.
    method: str = ""
    path: str = ""
    handler: str = ""


FLOW = "/a2a/svc/flow"
MESSAGE = {"message": {"messageId": "m{fid}", "role": "ROLE_USER", "parts": [{"data": {}}]}}
ANSWER = {"message": {**MESSAGE["message"], "taskId": "{fid}"}}
SEND = {**MESSAGE, "configuration": {"returnImmediately": True}}
PUSH = {"taskId": "{fid}", "url": "https://example.com/x", "id": "p"}
PUSHES = f"{FLOW}/tasks/{{fid}}/pushNotificationConfigs"
BY_PUSH = {"taskId": "{fid}", "id": "p"}
CALLS = {
    "SendMessage": Call("launch", SEND, "POST", f"{FLOW}/message:send", "send_to_agent"),
    "SendStreamingMessage": Call(
        "launch", ANSWER, "POST", f"{FLOW}/message:stream", "stream_from_agent"
    ),
    "GetTask": Call("read", {"id": "{fid}"}, "GET", f"{FLOW}/tasks/{{fid}}", "show_task"),
    "ListTasks": Call("read", {}, "GET", f"{FLOW}/tasks", "list_tasks"),
    "CancelTask": Call(
        "launch", {"id": "{fid}"}, "POST", f"{FLOW}/tasks/{{fid}}:cancel", "act_on_task"
    ),
    "SubscribeToTask": Call(
        "read", {"id": "{fid}"}, "POST", f"{FLOW}/tasks/{{fid}}:subscribe", "act_on_task"
    ),
    "CreateTaskPushNotificationConfig": Call("launch", PUSH, "POST", PUSHES, "add_push_config"),
    "GetTaskPushNotificationConfig": Call(
        "read", BY_PUSH, "GET", f"{PUSHES}/p", "show_push_config"
    ),
    "ListTaskPushNotificationConfigs": Call(
        "read", {"taskId": "{fid}"}, "GET", PUSHES, "list_push_configs"
    ),
    "DeleteTaskPushNotificationConfig": Call(
        "launch", BY_PUSH, "DELETE", f"{PUSHES}/p", "remove_push_config"
    ),
    "GetExtendedAgentCard": Call(
        "read", {}, "GET", f"{FLOW}/extendedAgentCard", "show_extended_card"
    ),
}
#: Operations that are not about a task.
FREE = ("ListTasks", "GetExtendedAgentCard", "SendMessage")
SCOPES = ("read", "launch", "deploy", "admin")
BINDINGS = ("JSON-RPC", "HTTP+JSON")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api))
        for scope in SCOPES:
            api.admit(scope, scope, sees_all=True)
        api.admit("other", "launch")
        api.admit("narrow", "launch", sees_all=True, flows=("other/*",))
        yield api


def new_task(api: Api) -> str:
    """Make an execution of Ada's that asks for something."""
    new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={}, user="ada")

    async def make() -> str:
        store = api.parts.store
        execution, _ = await store.executions.create(new)
        lid = f"l{execution.fid}"
        await store.locks.open(execution.fid, lid, name="review", data=None, expires=9e9)
        fid: str = execution.fid
        return fid

    made: str = api.call(make())
    return made


def filled(value: Any, fid: str) -> Any:
    if isinstance(value, str):
        return value.replace("{fid}", fid)
    if isinstance(value, dict):
        return {name: filled(each, fid) for name, each in value.items()}
    return [filled(each, fid) for each in value] if isinstance(value, list) else value


def ask(api: Api, name: str, key: str | None, binding: str) -> httpx.Response:
    """Send a request about a new task; of a stream, only its head is read."""
    call, fid = CALLS[name], new_task(api)
    params = filled(call.params, fid)
    with client_of(api, key or "") as client:
        if key is None:
            del client.headers["Authorization"]
        if binding == "JSON-RPC":
            body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
            request = client.build_request("POST", FLOW, json=body)
        else:
            json = params if call.method == "POST" else None
            request = client.build_request(call.method, filled(call.path, fid), json=json)
        answer = client.send(request, stream=True)
        if "event-stream" not in answer.headers.get("content-type", ""):
            answer.read()
        answer.close()
        return answer


def refusal(answer: httpx.Response) -> str:
    """Return the reason of an error; empty if there is none."""
    if "event-stream" in answer.headers.get("content-type", ""):
        return ""
    error = answer.json().get("error")
    found: str = error["data" if "data" in error else "details"][0]["reason"] if error else ""
    return found


def test_every_route_and_operation_is_in_the_tables() -> None:
    """Those without a key, too."""
    handlers = (each for route in make_routes().routes for each in route.route_handlers)
    names = {each.fn.__name__ for each in handlers}
    ours = {each.handler for each in CALLS.values()}
    assert names == ours | PUBLIC | {"call_agent", "show_card"}
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("name", CALLS)
def test_nobody_is_let_in_without_a_key(api: Api, name: str, binding: str) -> None:
    """401, whether the task exists or not."""
    api.parts.attempts = Attempts()  # too many wrong keys are 429
    for key in (None, "koco_" + "x" * 43):
        answer = ask(api, name, key, binding)
        assert (answer.status_code, refusal(answer)) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("name", CALLS)
def test_each_scope_alone_opens_its_operations(api: Api, name: str, binding: str) -> None:
    """Each includes `read`, and `admin` all."""
    scope = CALLS[name].scope
    for key in SCOPES:
        answer = ask(api, name, key, binding)
        is_let_in = scope in ("read", key) or key == "admin"
        assert (answer.status_code == 403) is not is_let_in, (key, answer.text)
        # A configuration that does not exist is told as a task that does not.
        is_missing = refusal(answer) == "TASK_NOT_FOUND"
        assert is_missing is (name == "GetTaskPushNotificationConfig"), key


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("name", [each for each in CALLS if each not in FREE])
def test_others_tasks_do_not_exist(api: Api, name: str, binding: str) -> None:
    """As if there were none of that id."""
    answer = ask(api, name, "other", binding)
    assert refusal(answer) == "TASK_NOT_FOUND", answer.text


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("name", CALLS)
def test_agents_of_other_flows_do_not_exist_for_limited_keys(
    api: Api, name: str, binding: str
) -> None:
    """404, as for an agent that there is not."""
    answer = ask(api, name, "narrow", binding)
    assert (answer.status_code, refusal(answer)) == (404, "NOT_FOUND")


def test_lists_have_only_the_callers_own(api: Api) -> None:
    """A key that sees all executions gets all."""
    fid = new_task(api)
    for key in ("other", "read"):
        answer = ask(api, "ListTasks", key, "HTTP+JSON").json()
        assert (fid in [each["id"] for each in answer["tasks"]]) is (key == "read")
