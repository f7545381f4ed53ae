"""A service with one flow of each sort, and clients of MCP in both eras."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from koco.events.model import Kind
from koco.manifest.descriptions import FlowExample, FlowHints
from tests.support.api_server import Api, serving
from tests.support.mcp_client import McpClient
from tests.support.played_flows import Stage, play
from tests.support.releases import flow
from tests.support.whole_api import complete

WHO = [{"type": "text", "name": "who", "label": "Who", "required": True}]
REVIEW = [
    {"type": "markdown", "text": "Is this fine?"},
    {"type": "boolean", "name": "ok", "label": "Fine"},
    {"type": "number", "name": "stars", "step": 1, "min_value": 1, "max_value": 5},
    {"type": "select", "name": "tone", "option": ["kind", {"name": "cold", "label": "Cold"}]},
    {"type": "date", "name": "day"},
]
FLOWS = (
    flow(
        "greet",
        form=WHO,
        summary="Greet somebody",
        description="Says hello.",
        output={"type": "string"},
        examples=(FlowExample(inputs={"who": "Ada"}),),
        hints=FlowHints(read_only=True, idempotent=True),
    ),
    flow("count", output={"type": "object", "properties": {"n": {"type": "integer"}}}),
    flow("fail"),
    flow("slow"),
    flow("review"),
    flow("secretive"),
    flow("free"),
    flow(
        "files",
        form=[{"type": "file", "name": "f"}, {"type": "file", "name": "g", "multiple": True}],
    ),
    flow("never"),
    flow("hidden", expose=("a2a",)),
)


async def greet(stage: Stage) -> Any:
    await stage.write(Kind.STDOUT, "greeting")
    return f"Hello, {stage.inputs['who']}"


async def count(stage: Stage) -> Any:
    return {"n": len(stage.inputs)}


async def fail(stage: Stage) -> Any:
    raise ValueError("no luck")


async def slow(stage: Stage) -> Any:
    for number in range(stage.inputs.get("steps", 3)):
        await stage.write(Kind.PROGRESS, {"done": number, "total": 3, "message": "working"})
        await asyncio.sleep(stage.inputs.get("pause", 0.5))
    return "done"


def asks(name: str) -> Any:
    async def review(stage: Stage) -> Any:
        return await stage.ask(name, {"text": "draft"})

    return review


async def files(stage: Stage) -> Any:
    for each in await stage.parts.store.files.all_of(stage.execution.id, within="in"):
        path = each.path.replace("in/", "out/")
        await stage.file(path, each.sha256, each.size_bytes)
    return "copied"


PLAYS = {
    **{"greet": greet, "count": count, "fail": fail, "slow": slow, "files": files},
    **{"review": asks("review"), "secretive": asks("secret"), "free": asks("anything")},
}
LOCKS = {"review": REVIEW, "secret": [{"type": "password", "name": "p"}]}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        given = {
            "service": "svc",
            "description": "What svc is for.",
            "flows": [{"name": "greet", "entrypoint": "m:f"}],
            "locks": LOCKS,
        }
        api.call(complete(api, given=given, flows=FLOWS))
        play(api, {f"svc/{name}": each for name, each in PLAYS.items()})
        api.admit("reader", "read")
        api.admit("narrow", "launch", flows=("svc/greet",))
        api.admit("boss", "admin")
        yield api


@pytest.fixture(params=["2026-07-28", "2025-11-25"])
def either(api: Api, request: Any) -> Iterator[McpClient]:
    """A client of each era."""
    with McpClient(api.url, version=request.param) as client:
        yield client


@pytest.fixture
def client(api: Api) -> Iterator[McpClient]:
    """A client of revision 2026-07-28."""
    with McpClient(api.url) as client:
        yield client
