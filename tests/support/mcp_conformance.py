"""The flows that the conformance kit of MCP calls, as far as flows can do what it asks."""

import asyncio
from typing import Any

from koco.events.model import Kind
from tests.support.api_server import Api
from tests.support.played_flows import Play, Stage, play
from tests.support.releases import flow
from tests.support.whole_api import complete

#: The forms of the locks.
LOCKS: dict[str, Any] = {
    "confirm": [{"type": "boolean", "name": "confirm"}],
    "name": [{"type": "text", "name": "name", "required": True}],
    "color": [{"type": "text", "name": "color"}],
    "ok": [{"type": "boolean", "name": "ok"}],
}


async def greet(stage: Stage) -> Any:
    return f"Hello, {stage.inputs.get('name')}!"


async def compute(stage: Stage) -> Any:
    await asyncio.sleep(stage.inputs.get("seconds", 0))
    return "computed"


async def fail(stage: Stage) -> Any:
    await asyncio.sleep(0.8)
    raise ValueError("This tool intentionally returns an error for testing")


async def fail_at_once(stage: Stage) -> Any:
    raise ValueError("This tool intentionally returns an error for testing")


async def say(stage: Stage) -> Any:
    return "This is a simple text response for testing."


async def tell_progress(stage: Stage) -> Any:
    for done in (0, 50, 100):
        await stage.write(Kind.PROGRESS, {"done": done, "total": 100, "message": None})
        await asyncio.sleep(0.3)
    return "done"


def ask(*locks: str, at_once: bool = False) -> Play:
    """Return a flow that asks for locks, one after the other or all at once."""

    async def run(stage: Stage) -> Any:
        if at_once:
            answers = await asyncio.gather(*(stage.ask(each) for each in locks))
        else:
            answers = [await stage.ask(each) for each in locks]
        return f"Answers: {answers}"

    return run


PLAYS: dict[str, Play] = {
    "greet": greet,
    "slow-compute": compute,
    "failing-job": fail,
    "confirm-delete": ask("confirm"),
    "multi-input": ask("first", "second", at_once=True),
    "test-simple-text": say,
    "test-error-handling": fail_at_once,
    "test-tool-with-progress": tell_progress,
    "test-input-required-result-elicitation": ask("name"),
    "test-input-required-result-request-state": ask("ok"),
    "test-input-required-result-multiple-inputs": ask("name", "color", at_once=True),
    "test-input-required-result-multi-round": ask("name", "color"),
    "test-input-required-result-tampered-state": ask("ok"),
    "test-input-required-result-capabilities": ask("name"),
}


def give_flows(api: Api) -> None:
    """Have the API serve the flows, as the service `conformance`."""
    given = {
        "service": "svc",
        "flows": [{"name": "greet", "entrypoint": "m:f"}],
        "locks": LOCKS,
    }
    flows = [flow(name, summary=f"Do what {name} does") for name in PLAYS]
    api.call(complete(api, given=given, flows=flows))
    play(api, PLAYS)
