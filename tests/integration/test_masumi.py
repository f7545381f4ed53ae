"""Masumi's own package as the other side: its models, its checks, its hashes and its client.

It is installed into an environment of its own, because it needs other versions than koco's tests.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.api.agents.mip003 import fields
from koco.control.payments.hashes import hash_input, hash_output
from koco.errors import InputsError
from koco.forms import Model
from koco.store.model import PaymentState
from tests.support.kodosumi_api import execute
from tests.support.masumi_service import TOKEN
from tests.support.mip003 import AGENT, ORDER, Agents, serving_agents

PACKAGE = "masumi==1.2.0"

#: Runs in that environment: does what is asked on standard input, one JSON line each.
PEER = """
import asyncio, json, logging, sys
logging.disable(logging.CRITICAL)
from masumi import models, validation
from masumi.config import Config
from masumi.helper_functions import create_masumi_input_hash, create_masumi_output_hash
from masumi.payment import Payment

def client(asked):
    config = Config(payment_service_url=asked["url"], payment_api_key=asked["token"])
    return Payment(agent_identifier=asked["agent"], config=config,
                   identifier_from_purchaser=asked["identifier"], input_data=asked["input"])

def answer(asked):
    kind = asked["do"]
    if kind == "model":
        return getattr(models, asked["model"])(**asked["data"]).model_dump(exclude_none=True)
    if kind == "check":
        try:
            validation.validate_input_data(asked["input"], asked["schema"])
        except validation.ValidationError as exc:
            return str(exc)
        return ""
    if kind == "hash":
        return [create_masumi_input_hash(asked["input"], asked["identifier"]),
                create_masumi_output_hash(asked["output"], asked["identifier"])]
    payment = client(asked)
    if kind == "request":
        return asyncio.run(payment.create_payment_request())
    if kind == "state":
        return asyncio.run(payment.check_payment_status_by_identifier(asked["payment"]))
    return asyncio.run(payment.complete_payment(asked["payment"], asked["output"]))

for line in sys.stdin:
    try:
        print(json.dumps({"ok": answer(json.loads(line))}), flush=True)
    except Exception as exc:
        print(json.dumps({"error": repr(exc)}), flush=True)
"""


class Peer:
    """A process with the package."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do: str, **asked: Any) -> Any:
        """Let it do something; return what it says."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps({"do": do, **asked}), file=self._process.stdin, flush=True)
        found = json.loads(self._process.stdout.readline())
        assert "ok" in found, found
        return found["ok"]

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Return a process with Masumi's package."""
    folder = tmp_path_factory.mktemp("masumi")
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    install = [python, "-m", "pip", "install", "-q", PACKAGE]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr[-300:]}")
    found = Peer(python)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    """Serve flows over MIP-003."""
    with serving_agents(tmp_path) as found:
        yield found


def test_its_models_take_every_answer(peer: Peer, agents: Agents) -> None:
    """And keep all members, so none is unknown to the standard."""
    body = {"identifier_from_purchaser": ORDER, "input_data": {"who": "Ada"}}
    waiting = execute(agents.api, ends=False)
    for lid in ("lock1", "lock2"):
        locks = agents.api.parts.store.locks
        agents.api.call(locks.open(waiting, lid, name="review", data=None, expires=4e9))
    done = execute(agents.api, final="Hi")
    with agents.http() as client:

        def get(path: str) -> Any:
            return client.get(f"/mip003/svc/{path}").json()

        def post(path: str, json: Any) -> Any:
            return client.post(f"/mip003/svc/{path}", json=json).json()

        answers = [
            ("StartJobResponse", post("greet/start_job", body)),
            ("StartJobResponse", post("paid/start_job", body)),
            ("AvailabilityResponse", get("greet/availability")),
            ("InputSchemaResponse", get("greet/input_schema")),
            ("DemoResponse", get("greet/demo")),
            ("StatusResponse", get(f"greet/status?job_id={waiting}")),
            ("StatusResponse", get(f"greet/status?job_id={done}")),
        ]
        schema = answers[5][1]["input_schema"]
        given = {"lock1:why": "so", "lock2:why": "so"}
        provided = {"job_id": waiting, "status_id": answers[5][1]["id"], "input_data": given}
        answers += [
            ("InputSchemaResponse", schema),
            ("ProvideInputResponse", post("greet/provide_input", provided)),
        ]
    for model, data in answers:
        assert peer.ask("model", model=model, data=data) == data, model


ELEMENTS: list[dict[str, Any]] = [
    {"type": "markdown", "text": "Hello"},
    {"type": "text", "name": "who", "required": True, "min_length": 2, "max_length": 5},
    {"type": "number", "name": "n", "step": 1, "min_value": 1, "max_value": 9},
    {"type": "boolean", "name": "loud"},
    {"type": "select", "name": "tone", "required": True, "option": ["kind", "harsh"]},
    {"type": "date", "name": "day", "min_date": "2026-01-01"},
    {"type": "email", "name": "mail"},
    {"type": "url", "name": "page"},
    {"type": "textarea", "name": "more", "max_length": 9},
    {"type": "json", "name": "j"},
]
GOOD: dict[str, Any] = {"who": "Ada", "tone": "kind"}


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"n": 3, "loud": True, "day": "2026-02-03", "mail": "a@example.com"}, True),
        ({"page": "https://example.com/a", "more": "x", "j": '{"a": 1}'}, True),
        ({"who": ""}, False),
        ({"who": "A"}, False),
        ({"who": "Adaline"}, False),
        ({"n": 0}, False),
        ({"n": 1.5}, False),
        ({"tone": ""}, False),
        ({"day": "2025-12-31"}, False),
        ({"mail": "nobody"}, False),
        ({"page": "nowhere"}, False),
        ({"more": "x" * 10}, False),
    ],
)
def test_its_checks_and_the_form_agree(peer: Peer, change: dict[str, Any], is_good: bool) -> None:
    """What its clients send after checking the schema is what the form takes."""
    form, given = Model.from_list(ELEMENTS), {**GOOD, **change}
    schema = {"input_data": fields.describe(form)}
    assert (peer.ask("check", input=given, schema=schema) == "") is is_good
    try:
        form.validate(given)
    except InputsError:
        assert not is_good
    else:
        assert is_good


def test_its_hashes_are_the_same(peer: Peer) -> None:
    """Of inputs whose numbers it writes as RFC 8785 does, and of results as it escapes them."""
    chosen = random.Random(17)
    letters = 'aZ9 _-äß€𝄞"\\/\n\t\x01'
    for _ in range(300):
        text = "".join(chosen.choices(letters, k=chosen.randrange(8)))
        given = {
            "".join(chosen.choices("aZ_ä€9", k=3)): chosen.choice(
                [text, chosen.randrange(-9999, 9999), True, None, 0.5, [text, {"b": text}]]
            )
            for _ in range(3)
        }
        found = peer.ask("hash", input=given, output=text, identifier=ORDER)
        assert found == [hash_input(given, ORDER), hash_output(text, ORDER, escaped=True)], given


def test_its_client_takes_the_service_of_the_tests_for_a_real_one(
    peer: Peer, agents: Agents
) -> None:
    """So koco, which pays through the same service, does what the package does."""
    about = {"url": agents.service.url, "token": TOKEN, "agent": AGENT, "identifier": ORDER}
    about["input"] = {"who": "Ada"}
    made = peer.ask("request", **about)
    payment = made["data"]["blockchainIdentifier"]
    assert peer.ask("state", payment=payment, **about)["data"]["onChainState"] is None
    agents.service.pay()
    assert peer.ask("state", payment=payment, **about)["data"]["onChainState"] == "FundsLocked"
    peer.ask("complete", payment=payment, output='a "b"', **about)
    assert agents.service.results[payment] == hash_output('a "b"', ORDER, escaped=True)
    body = {"identifier_from_purchaser": ORDER, "input_data": {"who": "Ada"}}
    with agents.http() as client:
        client.post("/mip003/svc/paid/start_job", json=body).raise_for_status()
    its, ours = agents.service.asked["/api/v1/payment/"]
    same = ("agentIdentifier", "network", "inputHash", "identifierFromPurchaser")
    assert {name: ours[name] for name in same} == {name: its[name] for name in same}
    assert ours.keys() <= its.keys()
    open_ones = agents.api.call(agents.api.parts.store.payments.open())
    assert [*open_ones.values()] == [PaymentState.AWAITING]
