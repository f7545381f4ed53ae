"""`koco webhook` and `koco run --webhook`, against the real API and a real receiver."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import whole_api
from tests.support.api_server import Api, serving
from tests.support.receiver import Receiver, receiving
from tests.unit.conftest import Cli, Use


def width(shown: str) -> int:
    """Return the length of the longest line, without its colours."""
    return max(map(len, re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()))


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    with serving(tmp_path / "data") as api:
        api.call(whole_api.complete(api))
        api.parts.settings.webhook_networks = ("127.0.0.0/8",)
        use(api.url, "ada")
        yield api


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_creates_tests_and_removes_one(api: Api, receiver: Receiver, cli: Cli) -> None:
    """stdout has the secret and nothing else, which signs the messages."""
    ran = cli(
        "webhook", "create", "chat", receiver.url, "--flow", "svc/*", "--on", "error,awaiting"
    )
    assert ran.code == 0
    assert "told of your executions (error, awaiting)" in ran.err
    secret = ran.out.strip()
    ran = cli("webhook", "test", "chat")
    assert (ran.code, ran.out[:9]) == (0, "chat  204")
    receiver.messages[0].verify(secret)
    ran = cli("webhook", "list")
    header, row = (line.split("\t") for line in ran.out.splitlines())
    shown = dict(zip(header, row, strict=True))
    assert (shown["name"], shown["status"], shown["on"]) == ("chat", "active", "error,awaiting")
    assert secret not in ran.out
    assert cli("webhook", "remove", "chat").out == "chat  removed\n"
    assert cli("webhook", "remove", "chat").code == 4


def test_a_failed_test_is_an_error(api: Api, receiver: Receiver, cli: Cli) -> None:
    """Exit code 1, and why; so with JSON."""
    cli("webhook", "create", "chat", receiver.url)
    receiver.answers = [(500, {}), (301, {})]
    ran = cli("webhook", "test", "chat")
    assert ran.code == 1
    assert "status 500" in ran.err
    ran = cli("webhook", "test", "chat", "--json")
    assert (ran.code, json.loads(ran.out)["code"]) == (1, 301)


def test_lists_a_webhook_that_failed(api: Api, receiver: Receiver, cli: Cli) -> None:
    """A script gets how often, and why nothing is sent there any more."""
    cli("webhook", "create", "chat", receiver.url)
    receiver.answers = [(410, {})]
    assert cli("webhook", "test", "chat").code == 1
    ran = cli("webhook", "list")
    assert ran.code == 0, ran.err
    header, row = (line.split("\t") for line in ran.out.splitlines())
    shown = dict(zip(header, row, strict=True))
    assert (shown["status"], shown["failures"]) == ("disabled", "1")
    assert "(410)" in shown["why"]


def test_a_secret_may_be_chosen_and_is_rotated(
    api: Api, receiver: Receiver, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both secrets sign until the grace period is over."""
    mine = "whsec_" + "A" * 43 + "="
    monkeypatch.setenv("KOCO_WEBHOOK_SECRET", mine)
    assert cli("webhook", "create", "chat", receiver.url).out.strip() == mine
    ran = cli("webhook", "rotate", "chat", "--grace", "1h")
    assert "the old secret signs, too, until" in ran.err
    cli("webhook", "test", "chat")
    for secret in (mine, ran.out.strip()):
        receiver.messages[0].verify(secret)
    ran = cli("webhook", "rotate", "chat", "--grace", "0", "--json")
    assert json.loads(ran.out)["secret"].startswith("whsec_")


def test_shows_the_log_and_sends_again(api: Api, receiver: Receiver, cli: Cli) -> None:
    """A launch's own webhook is in it, with its execution."""
    receiver.answers = [(410, {})]
    ran = cli("run", "svc/flow", "--webhook", receiver.url, "--json")
    launched: dict[str, Any] = json.loads(ran.out)
    assert cli("cancel", launched["fid"]).code == 0
    [message] = receiver.wait(1)
    assert message.verify(launched["webhook"]["secret"])["data"]["status"] == "cancelled"
    cli("webhook", "create", "chat", receiver.url)
    cli("webhook", "test", "chat")
    for _ in range(100):
        items = json.loads(cli("webhook", "deliveries", "--json").out)["items"]
        if items[1]["status"] == "failed":
            break
    assert [(each["event"], each["fid"]) for each in items] == [
        ("test", None),
        ("cancelled", launched["fid"]),
    ]
    ran = cli("webhook", "deliveries", "chat")
    assert ran.out.splitlines()[0].startswith("id\twebhook\tevent\tfid\tstatus\tcreated\ttries")
    assert len(ran.out.splitlines()) == 2
    ran = cli("webhook", "redeliver", str(items[1]["id"]))
    assert ran.code == 2  # its receiver said that it is gone
    assert "is disabled" in ran.err
    assert cli("webhook", "redeliver", "chat").out == "0 sent again\n"
    assert cli("webhook", "redeliver", "chat", "7").code == 2
    ran = cli("webhook", "deliveries", "--fid", launched["fid"], "--status", "failed")
    assert len(ran.out.splitlines()) == 2


def test_a_launch_shows_the_secret_of_its_webhook(api: Api, cli: Cli) -> None:
    """On stderr, because stdout is for the fid."""
    ran = cli("run", "svc/flow", "--webhook", "https://example.com/")
    assert re.fullmatch(r"\w{16}\n", ran.out)
    assert "shown only once: whsec_" in ran.err
    ran = cli("run", "svc/flow", "--webhook", "example.com")
    assert ran.code == 2
    assert "the webhook's URL" in ran.err


def test_a_webhook_is_for_one_launch(api: Api, cli: Cli, tmp_path: Path) -> None:
    """For many there is `koco webhook create`."""
    file = tmp_path / "in.jsonl"
    file.write_text("{}\n")
    ran = cli("run", "svc/flow", "--each", str(file), "--webhook", "https://example.com/")
    assert ran.code == 2
    assert "koco webhook create" in ran.err


def test_lists_are_drawn_at_a_terminal(
    api: Api, receiver: Receiver, cli: Cli, terminal: Cli
) -> None:
    """In 80 columns, with what is wrong."""
    assert "no webhooks yet" in terminal("webhook", "list").out
    cli("webhook", "create", "chat", f"{receiver.url}/{'long/' * 20}", "--flow", "svc/*")
    receiver.answers = [(410, {})]
    cli("webhook", "test", "chat")
    shown = terminal("webhook", "list").out
    assert "disabled" in shown
    assert "chat: its receiver answers that it is gone (410)" in shown
    assert width(shown) <= 80, shown
    shown = terminal("webhook", "deliveries").out
    assert "failed" in shown
    assert width(shown) <= 80, shown
