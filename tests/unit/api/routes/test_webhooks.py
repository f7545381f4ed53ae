"""Webhooks over the API: real HTTP, a real receiver."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from koco.events.model import Status
from koco.store.model import FailureEvent
from tests.support.api_server import Api, serving
from tests.support.receiver import Receiver, receiving
from tests.support.whole_api import complete

#: Nobody listens there.
HOOK = "http://127.0.0.9:9/hook"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api))
        api.admit("root", "admin")
        api.admit("reader", "read")
        api.parts.settings.webhook_networks = ("127.0.0.0/8",)
        yield api


@pytest.fixture
def receiver(api: Api) -> Iterator[Receiver]:
    """Run a receiver, which no webhook of another test knows."""
    for each in ask(api, "GET", "/v1/webhooks", "root")["items"]:
        ask(api, "DELETE", f"/v1/webhooks/{each['by']}:{each['name']}", "root")
    with receiving() as found:
        yield found


def ask(api: Api, method: str, path: str, key: str = "ada", **more: Any) -> Any:
    """Send a request; return the body of the answer, which has a status below 300."""
    with api.http(key) as client:
        answer = client.request(method, path, **more)
    assert answer.status_code < 300, answer.text
    return answer.json()


def refused(api: Api, method: str, path: str, key: str = "ada", **more: Any) -> tuple[int, str]:
    with api.http(key) as client:
        answer = client.request(method, path, **more)
    return answer.status_code, answer.json()["detail"]


def create(api: Api, name: str, url: str = HOOK, key: str = "ada", **more: Any) -> Any:
    return ask(api, "POST", "/v1/webhooks", key, json={"name": name, "url": url, **more})


def deliveries(api: Api, count: int, key: str = "ada", **params: Any) -> list[Any]:
    """Return deliveries, once there are so many that were tried."""
    for _ in range(500):
        found: list[Any] = ask(api, "GET", "/v1/deliveries", key, params=params)["items"]
        if sum(each["tries"] > 0 for each in found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def test_a_secret_is_shown_once(api: Api) -> None:
    """In the answer that creates it, and in no other; a repeated request gets the same."""
    headers = {"Idempotency-Key": "k1"}
    body = {"name": "once", "url": HOOK, "flows": ["svc/*"], "on": ["finished"]}
    made = ask(api, "POST", "/v1/webhooks", json=body, headers=headers)
    assert made["secret"].startswith("whsec_")
    assert ask(api, "POST", "/v1/webhooks", json=body, headers=headers) == made
    shown = ask(api, "GET", "/v1/webhooks/once")
    assert shown == {key: value for key, value in made.items() if key != "secret"}
    assert (shown["status"], shown["on"], shown["flows"]) == ("active", ["finished"], ["svc/*"])
    assert (shown["by"], shown["all_executions"]) == ("ada", False)
    assert shown in ask(api, "GET", "/v1/webhooks")["items"]


def test_what_is_not_valid_is_refused(api: Api) -> None:
    """With what is allowed instead."""
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "a name": ("400", {"url": "https://ada:pw@example.com/"}),
        "webhook's URL": ("400", {"url": "ftp://example.com/"}),
        "cannot hear of": ("400", {"on": ["finish"]}),
        "hears of nothing": ("400", {"on": []}),
        "is not a pattern": ("400", {"flows": ["svc"]}),
        "not a webhook's secret": ("400", {"secret": "whsec_c2hvcnQ="}),
        "not a valid name": ("400", {"name": "Ada's"}),
    }
    for what, (status, more) in cases.items():
        body = {"name": "bad", "url": HOOK, **more}
        code, detail = refused(api, "POST", "/v1/webhooks", json=body)
        assert (f"{code}", what in detail) == (status, True), detail
    create(api, "taken")
    assert refused(api, "POST", "/v1/webhooks", json={"name": "taken", "url": HOOK})[0] == 409
    assert refused(api, "POST", "/v1/webhooks", "reader", json={"name": "r", "url": HOOK})[0] == 403


def test_others_webhooks_do_not_exist(api: Api) -> None:
    """Except for admins, whose own hear of everybody's executions."""
    create(api, "adas")
    assert create(api, "roots", key="root")["all_executions"] is True
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/test", None),
    ):
        assert refused(api, method, f"/v1/webhooks/adas{path}", "bob", json=body)[0] == 404
    assert refused(api, "GET", "/v1/deliveries?webhook=adas", "bob")[0] == 404
    code, _ = refused(api, "POST", "/v1/deliveries/redeliver", "bob", json={"webhook": "adas"})
    assert code == 404
    assert ask(api, "GET", "/v1/webhooks", "bob")["items"] == []
    names = [each["name"] for each in ask(api, "GET", "/v1/webhooks", "root")["items"]]
    assert {"adas", "roots"} <= set(names)
    assert ask(api, "DELETE", "/v1/webhooks/adas", "root")["name"] == "adas"
    assert refused(api, "GET", "/v1/webhooks/adas")[0] == 404


def test_names_are_per_maker(api: Api) -> None:
    """Nobody hears of another's name. An admin says whose, if several makers have it."""
    create(api, "shared", f"{HOOK}/ada")
    create(api, "shared", f"{HOOK}/bob", key="bob")
    assert ask(api, "GET", "/v1/webhooks/shared")["url"] == f"{HOOK}/ada"
    assert ask(api, "GET", "/v1/webhooks/shared", "bob")["url"] == f"{HOOK}/bob"
    assert refused(api, "GET", "/v1/webhooks/ada:shared", "bob")[0] == 404
    assert refused(api, "POST", "/v1/webhooks", json={"name": "shared", "url": HOOK})[0] == 409
    assert refused(api, "GET", "/v1/webhooks/shared", "root")[0] == 409
    listed: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = ask(api, "GET", f"/v1/webhooks?limit=1{cursor}", "root")
        listed += [(each["by"], each["name"]) for each in page["items"]]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert {("ada", "shared"), ("bob", "shared")} <= set(listed)
    assert len(listed) == len(set(listed))
    assert ask(api, "DELETE", "/v1/webhooks/bob:shared", "root")["by"] == "bob"
    assert ask(api, "DELETE", "/v1/webhooks/shared", "root")["by"] == "ada"


def test_a_later_key_of_a_name_has_none_of_the_former_ones_webhooks(api: Api) -> None:
    """Nor what they were told. An admin sees that they are disabled."""
    api.admit("carl", "launch")
    create(api, "carls", key="carl")
    ask(api, "POST", "/v1/webhooks/carls/test", "carl")
    api.call(api.parts.keys.revoke("carl"))
    shown = ask(api, "GET", "/v1/webhooks/carl:carls", "root")
    assert (shown["status"], shown["why"]) == (
        "disabled",
        "its maker 'carl' has no access any more",
    )
    key, _ = api.call(api.parts.keys.create("carl", by="root", scopes=("launch",)))
    digest = hashlib.sha256(b"carl").digest()
    api.call(api.parts.store.keys.put(msgspec.structs.replace(key, digest=digest)))
    assert ask(api, "GET", "/v1/webhooks", "carl")["items"] == []
    assert ask(api, "GET", "/v1/deliveries", "carl")["items"] == []
    assert refused(api, "GET", "/v1/webhooks/carls", "carl")[0] == 404
    create(api, "carls", key="carl")
    assert ask(api, "GET", "/v1/webhooks/carl:carls", "root")["status"] == "active"


def test_a_test_is_sent_at_once(api: Api, receiver: Receiver) -> None:
    """The answer says how it went, and the log has it."""
    secret = create(api, "tested", receiver.url)["secret"]
    assert ask(api, "POST", "/v1/webhooks/tested/test")["ok"] is True
    assert receiver.messages[0].verify(secret)["data"] == {"webhook": "tested"}
    receiver.answers = [(500, {})]
    failed = ask(api, "POST", "/v1/webhooks/tested/test")
    assert (failed["ok"], failed["code"]) == (False, 500)
    assert failed["error"] == "its receiver answers with status 500"
    new = ask(api, "POST", "/v1/webhooks/tested/rotate", json={"grace_s": 0})["secret"]
    ask(api, "POST", "/v1/webhooks/tested/test")
    receiver.messages[2].verify(new)
    found = deliveries(api, 3, webhook="tested")
    assert [(each["event"], each["status"]) for each in found] == [
        ("test", "delivered"),
        ("test", "failed"),
        ("test", "delivered"),
    ]
    again = {"webhook": "tested"}  # tests are not sent again
    assert ask(api, "POST", "/v1/deliveries/redeliver", json=again) == {"count": 0}


def test_messages_are_sent_again_by_hand(api: Api, receiver: Receiver) -> None:
    """The failed ones of a webhook, or some; not to a webhook that is disabled."""
    create(api, "again", receiver.url, on=["error"])
    receiver.answers = [(410, {})]
    fid = api.execution(user="ada")
    error = FailureEvent(type="E", message="m")
    api.call(api.parts.store.executions.settle(fid, Status.ERROR, error))
    [failed] = deliveries(api, 1, webhook="again")
    assert (failed["status"], failed["code"], failed["fid"]) == ("failed", 410, fid)
    assert ask(api, "GET", "/v1/webhooks/again")["status"] == "disabled"
    one = {"deliveries": [failed["id"]]}
    assert refused(api, "POST", "/v1/deliveries/redeliver", json=one)[0] == 409
    for none in (0, 2**63, 10**400):
        huge = {"deliveries": [none]}
        assert refused(api, "POST", "/v1/deliveries/redeliver", json=huge)[0] == 400
    assert ask(api, "POST", "/v1/webhooks/again/test")["ok"] is True
    assert refused(api, "POST", "/v1/deliveries/redeliver", "bob", json=one)[0] == 404
    assert ask(api, "POST", "/v1/deliveries/redeliver", json=one) == {"count": 1}
    receiver.wait(3)
    assert receiver.messages[2].id == receiver.messages[0].id
    again = {"webhook": "again"}
    [sent] = deliveries(api, 1, fid=fid)
    for _ in range(100):
        if sent["status"] == "delivered":
            break
        time.sleep(0.01)
        [sent] = deliveries(api, 1, fid=fid)
    assert sent["status"] == "delivered"
    assert ask(api, "POST", "/v1/deliveries/redeliver", json=again) == {"count": 0}


def test_a_launch_may_bring_a_webhook(api: Api, receiver: Receiver) -> None:
    """Its secret is in the answer; a repeated launch has the same, and no second webhook."""
    headers = {"Webhook": receiver.url, "Webhook-On": "cancelled, error", "Idempotency-Key": "x"}
    first = ask(api, "POST", "/v1/flows/svc/flow", json={}, headers=headers)
    again = ask(api, "POST", "/v1/flows/svc/flow", json={}, headers=headers)
    assert first == again
    assert first["webhook"]["url"] == f"{receiver.url}/"
    other = ask(api, "POST", "/v1/flows/svc/flow", json={})
    assert "webhook" not in other
    for each in (first, other):
        ask(api, "POST", f"/v1/executions/{each['result']}/cancel")
    [message] = receiver.wait(1)
    content = message.verify(first["webhook"]["secret"])
    assert content["type"] == "execution.cancelled"
    assert content["data"]["fid"] == first["result"]
    [delivery] = deliveries(api, 1, fid=first["result"])
    assert delivery["webhook"] is None
    assert "" not in [each["name"] for each in ask(api, "GET", "/v1/webhooks")["items"]]


def test_a_launch_may_bring_a_secret(api: Api, receiver: Receiver) -> None:
    """The one that its receiver knows already. A webhook that is not valid launches nothing."""
    secret = "whsec_" + "A" * 43 + "="
    headers = {"Webhook": receiver.url, "Webhook-Secret": secret}
    fid = ask(api, "POST", "/v1/flows/svc/flow", json={}, headers=headers)["result"]
    ask(api, "POST", f"/v1/executions/{fid}/cancel")
    receiver.wait(1)[0].verify(secret)
    before = len(ask(api, "GET", "/v1/executions")["items"])
    for bad in ({"Webhook": "nowhere"}, {**headers, "Webhook-Secret": "x"}):
        assert refused(api, "POST", "/v1/flows/svc/flow", json={}, headers=bad)[0] == 400
    assert len(ask(api, "GET", "/v1/executions")["items"]) == before
