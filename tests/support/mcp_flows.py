"""A service for tests of MCP, with one flow of each sort."""

import asyncio
from typing import Any

from koco.events.model import Kind
from koco.manifest.descriptions import FlowExample, FlowHints
from tests.support.api_server import Api
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
    flow("approve", output={"type": "object", "properties": {"ok": {"type": "boolean"}}}),
    flow("secretive"),
    flow("free"),
    flow(
        "files",
        form=[{"type": "file", "name": "f"}, {"type": "file", "name": "g", "multiple": True}],
    ),
    flow("never"),
    flow("hidden", expose=("a2a",)),
    flow("twin-a"),
    flow("twin--a"),
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


async def approve(stage: Stage) -> Any:
    await asyncio.sleep(0.4)
    await stage.write(Kind.STDOUT, "before")
    await asyncio.sleep(0.4)
    answer = await stage.ask("review", {"text": "draft"})
    await asyncio.sleep(0.8)
    await stage.write(Kind.STDOUT, "after")
    await asyncio.sleep(0.4)
    return {"ok": answer["ok"]}


async def files(stage: Stage) -> Any:
    for each in await stage.parts.store.files.all_of(stage.execution.id, within="in"):
        path = each.path.replace("in/", "out/")
        await stage.file(path, each.sha256, each.size_bytes)
    return "copied"


PLAYS = {
    **{"greet": greet, "count": count, "fail": fail, "slow": slow, "files": files},
    "approve": approve,
    **{"twin-a": count, "twin--a": count},
    **{"review": asks("review"), "secretive": asks("secret"), "free": asks("anything")},
}
LOCKS = {"review": REVIEW, "secret": [{"type": "password", "name": "p"}]}


def give_flows(api: Api) -> None:
    """Have the API serve the flows, as the service `svc`."""
    given = {
        "service": "svc",
        "description": "What svc is for.",
        "flows": [{"name": "greet", "entrypoint": "m:f"}],
        "locks": LOCKS,
    }
    api.call(complete(api, given=given, flows=FLOWS))
    play(api, PLAYS)
