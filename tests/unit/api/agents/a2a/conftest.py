"""An API whose flows are played, for agents that call them over A2A."""

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from koco.events.model import Kind
from koco.manifest.descriptions import FlowExample
from tests.support.api_server import Api, serving
from tests.support.played_flows import Stage, play
from tests.support.releases import flow
from tests.support.whole_api import complete

GREET: list[dict[str, Any]] = [
    {"type": "text", "name": "who", "label": "Who", "required": True},
    {"type": "number", "name": "times", "value": 1, "min_value": 1},
    {"type": "password", "name": "secret"},
]
APPROVAL: list[dict[str, Any]] = [
    {"type": "boolean", "name": "ok"},
    {"type": "textarea", "name": "note"},
]
MANIFEST = {
    "service": "svc",
    "flows": [{"name": "greet", "entrypoint": "m:f"}],
    "locks": {"approval": APPROVAL},
}
FLOWS = (
    flow(
        "greet",
        form=GREET,
        summary="Greets",
        description="Greets *somebody*.",
        tags=("demo",),
        output={"type": "string"},
        examples=(FlowExample(inputs={"who": "Ada"}),),
    ),
    flow("ask"),
    flow("stream"),
    flow("files", form=[{"type": "file", "name": "paper", "required": True}]),
    flow("fail"),
    flow("wait"),
    flow("apart", expose=("mip003",)),
)


async def greet(stage: Stage) -> Any:
    return f"Hello, {stage.inputs['who']}"


async def ask(stage: Stage) -> Any:
    """Ask for an approval, for a word, and return both."""
    approval = await stage.ask("approval", {"page": 1})
    word = await stage.ask("word")
    return {"approval": approval, "word": word}


async def stream(stage: Stage) -> Any:
    await stage.write(Kind.STDOUT, "one", "two")
    await stage.write(Kind.PROGRESS, {"done": 1, "total": 2, "message": "half"})
    await stage.write(Kind.RESULT, "chunk 1", {"chunk": 2})
    return {"type": "markdown", "body": "# Done"}


async def files(stage: Stage) -> Any:
    return stage.inputs


async def fail(stage: Stage) -> Any:
    raise ValueError("no")


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.call(complete(api, given=MANIFEST, flows=FLOWS))
        plays = {"greet": greet, "ask": ask, "stream": stream, "files": files, "fail": fail}
        play(api, plays)
        api.parts.url = api.url  # the cards' clients follow it
        api.admit("reader", "read")
        api.admit("overseer", "launch", sees_all=True)
        api.admit("limited", "launch", flows=("other/*",))
        yield api


def client_of(api: Api, key: str = "ada") -> httpx.Client:
    """Return a client whose answers are A2A's, and so not those of the API's own document."""
    headers = {"A2A-Version": "1.0", "Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=60)


class Agent:
    """The agent of a flow, asked over JSON-RPC as a key."""

    def __init__(self, api: Api, flow: str = "greet", key: str = "ada") -> None:
        self.path = f"/a2a/svc/{flow}" if flow else "/a2a"
        self._api = api
        self._key = key

    def post(self, method: str, params: Any = None, **headers: str) -> Any:
        """Return the whole answer to a call."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}}
        with client_of(self._api, self._key) as client:
            return client.post(self.path, json=body, headers=headers)

    def ask(self, method: str, params: Any = None) -> Any:
        """Return the result of a call."""
        answer = self.post(method, params)
        assert answer.status_code == 200, answer.text
        assert "result" in answer.json(), answer.text
        return answer.json()["result"]

    def error(self, method: str, params: Any = None) -> Any:
        """Return the error that a call is answered with."""
        return self.post(method, params).json()["error"]

    def send(self, *parts: Any, now: bool = False, **message: Any) -> Any:
        """Send a message, and return the task."""
        params = {
            "message": self.message(*parts, **message),
            "configuration": {"returnImmediately": now},
        }
        return self.ask("SendMessage", params)["task"]

    def message(self, *parts: Any, **more: Any) -> Any:
        return {
            "messageId": secrets.token_hex(8),
            "role": "ROLE_USER",
            "parts": list(parts),
            **more,
        }
