"""Webhooks on real Ray: told of what flows do, whatever is killed meanwhile."""

from collections.abc import Iterator

import pytest

from tests.support.driver import Koco, eventually, kill9
from tests.support.receiver import Receiver, receiving

CODE = """
    async def ask(tracer):
        answer = await tracer.lock("review", data={"text": "Fine?"})
        return {"answer": answer}

    def quick():
        return "done"
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Iterator[Koco]:
    koco.run("config", "set", "webhook_networks=127.0.0.0/8").ok()
    try:
        yield koco.deploy("told", CODE, runner={"min": 1, "max": 2})
    finally:
        koco.run("config", "unset", "webhook_networks").ok()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_person_is_asked_and_the_result_is_told(app: Koco, receiver: Receiver) -> None:
    """The webhook of a launch hears of the lock, and of the end with its result."""
    launched = app.run("run", "told/ask", "--webhook", receiver.url, "--json").json()
    [asked] = receiver.wait(1, seconds=60)
    content = asked.verify(launched["webhook"]["secret"])
    assert content["type"] == "execution.awaiting"
    assert content["data"]["lock"]["data"] == {"text": "Fine?"}
    app.run("answer", launched["fid"], "review", "-i", "ok=true").ok()
    ended = receiver.wait(2, seconds=60)[1].verify(launched["webhook"]["secret"])
    assert (ended["type"], ended["data"]["fid"]) == ("execution.finished", launched["fid"])
    assert ended["data"]["result"] == {"answer": {"ok": "true"}}


def test_nothing_is_lost_with_the_control_plane(app: Koco, receiver: Receiver) -> None:
    """It is killed while messages wait and while they are sent: each arrives, with one id."""
    app.run("webhook", "create", "all", receiver.url, "--flow", "told/quick", "--on", "finished")
    receiver.answers = [(503, {})] * 5
    fids = [app.launch("quick") for _ in range(5)]
    receiver.wait(1, seconds=60)
    pid = app.control_pid()
    kill9(pid)
    eventually(lambda: app.control_pid() != pid)
    fids += [app.launch("quick") for _ in range(5)]

    def told() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in receiver.messages[5:]:
            found.setdefault(each.content["data"]["fid"], set()).add(each.id)
        return found

    eventually(lambda: set(fids) <= told().keys(), within_s=60)
    assert all(len(ids) == 1 for ids in told().values())
    statuses = [
        each["status"] for each in app.run("webhook", "deliveries", "all", "--json").json()["items"]
    ]
    assert len(statuses) == 10
    app.run("webhook", "remove", "all").ok()
