"""The official SDK's client drives agents over both bindings."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.signing import create_signature_verifier
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from jwt.api_jwk import PyJWK

from tests.support.api_server import Api
from tests.unit.api.agents.a2a.conftest import client_of

BINDINGS = ("JSONRPC", "HTTP+JSON")
Work = Callable[[Client], Awaitable[None]]


def run(api: Api, binding: str, flow: str, work: Work) -> None:
    """Find the agent of a flow by its URL, and do some work with a client of one binding."""

    async def main() -> None:
        headers = {"Authorization": "Bearer ada"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
            config = ClientConfig(
                httpx_client=http, streaming=True, supported_protocol_bindings=[binding]
            )
            url = f"{api.url}/a2a/svc/{flow}"
            card = await A2ACardResolver(http, url).get_agent_card()
            await work(ClientFactory(config).create(card))

    asyncio.run(main())


def request(*values: Any, now: bool = False, **message: Any) -> SendMessageRequest:
    """Return the request with a message of data and text."""
    parts = [
        Part(text=each) if isinstance(each, str) else Part(data=ParseDict(each, Value()))
        for each in values
    ]
    number = message.pop("message_id", f"sdk-{id(parts)}-{len(SENT)}")
    SENT.append(number)
    sent = Message(message_id=number, role=Role.ROLE_USER, parts=parts, **message)
    wish = SendMessageConfiguration(return_immediately=now)
    return SendMessageRequest(message=sent, configuration=wish)


#: The ids of the messages so far.
SENT: list[str] = []


async def sent(client: Client, asked: SendMessageRequest) -> list[Any]:
    """Return what the stream of a message has."""
    return [each async for each in client.send_message(asked)]


def kinds(found: list[Any]) -> list[str]:
    return [each.WhichOneof("payload") for each in found]


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_message_is_followed_to_the_result(api: Api, binding: str) -> None:
    """The task, what the flow says and makes on the way, its result, and the last status."""

    async def work(client: Client) -> None:
        found = await sent(client, request({}))
        assert kinds(found)[0] == "task"
        assert kinds(found)[-1] == "status_update"
        assert found[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        said = [
            part.text
            for each in found
            if each.HasField("status_update")
            for part in each.status_update.status.message.parts
        ]
        assert "one\ntwo" in said
        assert "1 of 2: half" in said
        made = [each.artifact_update for each in found if each.HasField("artifact_update")]
        assert [each.artifact.artifact_id for each in made] == ["results", "results", "result"]
        assert [each.append for each in made] == [False, True, False]
        assert made[-1].artifact.parts[0].text == "# Done"
        assert made[-1].artifact.parts[0].media_type == "text/markdown"
        assert made[-1].last_chunk
        numbers = [
            dict(getattr(each, each.WhichOneof("payload")).metadata)["seq"] for each in found[1:]
        ]
        assert numbers == sorted(numbers)

    run(api, binding, "stream", work)


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_question_is_answered(api: Api, binding: str) -> None:
    """The stream ends with the question, and the answer's stream goes on from there."""

    async def work(client: Client) -> None:
        asked = await sent(client, request({}))
        task = asked[0].task
        status = asked[-1].status_update.status
        assert status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert MessageToDict(status.message.parts[1].data)["name"] == "approval"
        answer = request({"ok": True}, task_id=task.id, context_id=task.context_id)
        found = await sent(client, answer)
        assert found[-1].status_update.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        found = await sent(client, request("hey", task_id=task.id))
        assert found[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED

    run(api, binding, "ask", work)


@pytest.mark.parametrize("binding", BINDINGS)
def test_tasks_are_shown_listed_followed_and_cancelled(api: Api, binding: str) -> None:
    """A stream of a task ends when it is cancelled."""

    async def work(client: Client) -> None:
        client._config.streaming = False
        [begun] = await sent(client, request({}, now=True, context_id=f"talk {binding}"))
        client._config.streaming = True
        fid = begun.task.id
        assert (await client.get_task(GetTaskRequest(id=fid))).id == fid
        listed = await client.list_tasks(ListTasksRequest(context_id=f"talk {binding}"))
        assert [each.id for each in listed.tasks] == [fid]
        assert listed.total_size == 1
        followed: list[Any] = []

        async def follow() -> None:
            async for each in client.subscribe(SubscribeToTaskRequest(id=fid)):
                followed.append(each)

        following = asyncio.create_task(follow())
        while not followed and not following.done():
            await asyncio.sleep(0.01)
        cancelled = await client.cancel_task(CancelTaskRequest(id=fid))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        await asyncio.wait_for(following, 20)
        assert kinds(followed)[0] == "task"
        assert followed[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED

    run(api, binding, "wait", work)


@pytest.mark.parametrize("binding", BINDINGS)
def test_errors_are_the_sdks_own(api: Api, binding: str) -> None:
    """It knows them by their codes and reasons."""

    async def work(client: Client) -> None:
        with pytest.raises(Exception, match="there is no task") as caught:
            await client.get_task(GetTaskRequest(id="nothing"))
        assert type(caught.value).__name__ == "TaskNotFoundError"
        found = await sent(client, request({"who": "Ada"}))
        with pytest.raises(Exception, match="has ended") as caught:
            await sent(client, request("x", task_id=found[0].task.id))
        assert type(caught.value).__name__ == "UnsupportedOperationError"

    run(api, binding, "greet", work)


def test_the_public_card_leads_to_the_agent_of_all_flows(api: Api) -> None:
    """It names no flow; the extended card of a key has a skill for each."""

    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            card = await A2ACardResolver(http, api.url).get_agent_card()
            assert "svc" not in str(card)
            assert card.capabilities.extended_agent_card
            http.headers["Authorization"] = "Bearer ada"
            client = ClientFactory(ClientConfig(httpx_client=http)).create(card)
            extended = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
        names = [each.id for each in extended.skills]
        assert "svc/greet" in names
        assert "svc/apart" not in names

    asyncio.run(main())


def test_a_card_says_how_to_ask_its_flow(api: Api) -> None:
    """With the schemas of inputs and result, in an extension; it may be cached."""
    with client_of(api) as client:
        answer = client.get("/a2a/svc/greet/.well-known/agent-card.json")
        tag = answer.headers["etag"]
        again = client.get(answer.url, headers={"If-None-Match": tag})
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert again.status_code == 304
    card = answer.json()
    assert card["name"] == "svc/greet"
    assert card["skills"][0]["tags"] == ["demo"]
    assert json.loads(card["skills"][0]["examples"][0]) == {"who": "Ada"}
    [extension] = card["capabilities"]["extensions"]
    assert extension["params"]["inputs"]["required"] == ["who"]
    assert extension["params"]["output"] == {"type": "string"}
    assert {each["url"] for each in card["supportedInterfaces"]} == {f"{api.url}/a2a/svc/greet"}
    ParseDict(card, AgentCard())  # it has no member that the protocol does not know


def test_cards_need_a_key_but_for_the_public_one(api: Api) -> None:
    """A key that may not see the flow finds no card."""
    path = "/a2a/svc/greet/.well-known/agent-card.json"
    with client_of(api, "wrong") as client:
        assert client.get(path).status_code == 401
        public = client.get("/.well-known/agent-card.json")
    assert (public.status_code, public.headers["cache-control"]) == (200, "public, max-age=300")
    with client_of(api, "limited") as client:
        refused = client.get(path)
    assert refused.status_code == 404
    assert refused.json()["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
def test_cards_are_signed_with_the_key_of_a_setting(api: Api, kind: str, tmp_path: Path) -> None:
    """The SDK verifies them with the key at the URL that the signature names."""
    is_es = kind == "ES256"
    key: Any = ec.generate_private_key(ec.SECP256R1()) if is_es else None
    key = key or ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "card.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = api.parts.settings
    with client_of(api) as client:
        assert client.get("/.well-known/jwks.json").status_code == 404
        settings.card_key = str(path)
        try:
            cards = [
                client.get(f"{place}/.well-known/agent-card.json").json()
                for place in ("", "/a2a/svc/greet", "/a2a/svc/files")
            ]
            settings.card_key = str(tmp_path / "none.pem")
            assert client.get("/.well-known/agent-card.json").status_code == 500
            settings.card_key = str(path)

            def find(kid: str | None, jku: str | None) -> PyJWK:
                [found] = client.get(str(jku)).json()["keys"]
                assert found["kid"] == kid
                return PyJWK(found)

            for each in cards:
                card = ParseDict(each, AgentCard())
                create_signature_verifier(find, [kind])(card)
                card.name += "!"
                with pytest.raises(Exception, match="No valid signature"):
                    create_signature_verifier(find, [kind])(card)
        finally:
            settings.card_key = ""


def test_a_task_of_the_sdk_has_nothing_that_the_protocol_does_not_know(api: Api) -> None:
    """Parsed strictly, whatever its state."""
    with client_of(api) as client:
        for flow in ("greet", "ask", "fail", "stream"):
            message = {"messageId": f"strict-{flow}", "role": "ROLE_USER"}
            message["parts"] = [{"data": {"who": "Ada"} if flow == "greet" else {}}]  # type: ignore[assignment]
            answer = client.post(f"/a2a/svc/{flow}/message:send", json={"message": message})
            assert answer.status_code == 200, answer.text
            task = ParseDict(answer.json()["task"], Task())
            assert task.status.timestamp.seconds
