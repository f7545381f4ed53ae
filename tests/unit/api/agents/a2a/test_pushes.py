"""Push notification configurations, and what is sent to their URLs."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from a2a.types import StreamResponse
from google.protobuf.json_format import ParseDict

from tests.support.api_server import Api
from tests.support.receiver import Receiver, receiving
from tests.unit.api.agents.a2a.conftest import Agent, client_of


@pytest.fixture
def receiver(api: Api) -> Iterator[Receiver]:
    """A receiver that may be sent to although it is on this machine."""
    api.parts.settings.webhook_networks = ("127.0.0.0/8",)
    with receiving() as receiver:
        yield receiver
    api.parts.settings.webhook_networks = ()


def test_a_message_brings_its_configuration(api: Api, receiver: Receiver) -> None:
    """Each update is sent as a stream would have it, with what the client knows it by."""
    ask = Agent(api, "ask")
    config = {
        "url": receiver.url,
        "token": "my-token",
        "authentication": {"scheme": "Bearer", "credentials": "my-secret"},
    }
    wish = {"taskPushNotificationConfig": config}
    asked = {"message": ask.message({"data": {}}), "configuration": wish}
    task = ask.ask("SendMessage", asked)["task"]
    receiver.wait_for(lambda content: "'approval'" in str(content))
    ask.send({"data": {"ok": True}}, taskId=task["id"])
    receiver.wait(3)
    ask.send({"text": "hey"}, taskId=task["id"])
    receiver.wait(4)
    # In any order: one may overtake another. That it works again is sent only if it is seen.
    told = receiver.wait_for(lambda content: "task" in content)

    def one(what: str, text: str) -> Any:
        return next(each for each in told if what in each.content and text in str(each.content))

    running = one("statusUpdate", "TASK_STATE_WORKING")
    asks, ends = one("statusUpdate", "'approval'"), one("task", "")
    for each in told:
        assert each.headers["authorization"] == "Bearer my-secret"
        assert each.headers["x-a2a-notification-token"] == "my-token"
        assert each.headers["content-type"] == "application/a2a+json"
        ParseDict(each.content, StreamResponse())
    assert running.content["statusUpdate"]["taskId"] == task["id"]
    update = asks.content["statusUpdate"]
    assert (update["taskId"], update["contextId"]) == (task["id"], task["contextId"])
    assert update["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert update["status"]["message"]["parts"][1]["data"]["name"] == "approval"
    ended = ends.content["task"]
    assert ended["status"]["state"] == "TASK_STATE_COMPLETED"
    assert ended["artifacts"][0]["parts"][0]["data"]["word"] == "hey"


def test_a_large_result_is_not_sent(api: Api, receiver: Receiver) -> None:
    """The last status is, and the task can be asked for."""
    greet = Agent(api)
    wish = {"taskPushNotificationConfig": {"url": receiver.url}}
    message = greet.message({"data": {"who": "x" * 1_100_000}})
    greet.ask("SendMessage", {"message": message, "configuration": wish})
    *_, ends = receiver.wait(2)
    assert ends.content["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.parametrize("binding", ["JSON-RPC", "HTTP+JSON"])
def test_configurations_are_added_shown_listed_and_removed(api: Api, binding: str) -> None:
    """Without what they prove themselves with. To remove one twice is no error."""
    wait = Agent(api, "wait")
    fid = wait.send({"data": {}}, now=True)["id"]
    path = f"{wait.path}/tasks/{fid}/pushNotificationConfigs"

    def act(name: str, method: str, id_: str = "", **more: Any) -> Any:
        if binding == "JSON-RPC":
            asked = {"taskId": fid, **({"id": id_} if id_ else {}), **more}
            answer = wait.post(f"{name}TaskPushNotificationConfig", asked).json()
            return answer.get("result", answer)
        with client_of(api) as client:
            sent = {"json": more} if method == "POST" else {}
            return client.request(method, f"{path}/{id_}".rstrip("/"), **sent).json()

    secret = {"scheme": "Bearer", "credentials": secrets.token_hex(8)}
    first = act("Create", "POST", url="https://example.com/1", authentication=secret)
    assert first == {"id": first["id"], "taskId": fid, "url": "https://example.com/1"}
    if binding == "JSON-RPC":
        named = act("Create", "POST", "mine", url="https://example.com/2")
    else:
        named = act("Create", "POST", **{"id": "mine", "url": "https://example.com/2"})
    assert named["id"] == "mine"
    assert act("Get", "GET", "mine") == named
    if binding == "JSON-RPC":
        listed = wait.ask("ListTaskPushNotificationConfigs", {"taskId": fid})
    else:
        listed = act("List", "GET")
    assert {each["id"] for each in listed["configs"]} == {"mine", first["id"]}
    for _ in range(2):
        assert act("Delete", "DELETE", "mine") == {}
    assert act("Get", "GET", "mine")["error"]["code"] in (-32001, 404)


@pytest.mark.parametrize("url", ["ftp://example.com", "nothing", "https://"])
def test_a_url_that_nothing_can_be_sent_to_is_refused(api: Api, url: str) -> None:
    """Before anything is launched."""
    greet = Agent(api)
    message = greet.message({"data": {"who": "Ada"}}, contextId=f"push {url}")
    wish = {"taskPushNotificationConfig": {"url": url}}
    error = greet.error("SendMessage", {"message": message, "configuration": wish})
    assert error["data"][1]["fieldViolations"][0]["field"] == "url"
    assert greet.ask("ListTasks", {"contextId": f"push {url}"})["tasks"] == []


def test_configurations_of_others_do_not_exist(api: Api) -> None:
    """Whoever sees everybody's executions has their own there, also by the same ids."""
    fid = Agent(api, "wait").send({"data": {}}, now=True)["id"]
    create, show, listing, remove = (
        f"{name}TaskPushNotificationConfig{end}"
        for name, end in (("Create", ""), ("Get", ""), ("List", "s"), ("Delete", ""))
    )
    owner, other = Agent(api, "wait"), Agent(api, "wait", key="overseer")
    mine = owner.ask(create, {"taskId": fid, "id": "one", "url": "https://example.com/secret"})
    assert other.ask(listing, {"taskId": fid})["configs"] == []
    assert other.error(show, {"taskId": fid, "id": "one"})["code"] == -32001
    theirs = other.ask(create, {"taskId": fid, "id": "one", "url": "https://example.com/other"})
    assert owner.ask(listing, {"taskId": fid})["configs"] == [mine]
    assert other.ask(listing, {"taskId": fid})["configs"] == [theirs]
    other.ask(remove, {"taskId": fid, "id": "one"})
    assert owner.ask(show, {"taskId": fid, "id": "one"}) == mine


@pytest.mark.parametrize(
    ("field", "value"),
    [("token", "a\r\nX-Evil: 1"), ("authentication", {"scheme": "\u2603", "credentials": "x"})],
)
def test_what_cannot_be_sent_is_named(api: Api, field: str, value: Any) -> None:
    """The error is about that field, and not about the URL."""
    wait = Agent(api, "wait")
    asked = {"taskId": wait.send({"data": {}}, now=True)["id"], "url": "https://example.com/1"}
    error = wait.error("CreateTaskPushNotificationConfig", {**asked, field: value})
    assert [each["field"] for each in error["data"][1]["fieldViolations"]] == [field]
