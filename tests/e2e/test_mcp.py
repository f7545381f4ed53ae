"""Flows as tools of MCP, on a real cluster: the official client over HTTP and `koco mcp`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.driver import Koco, eventually, kill9
from tests.support.mcp_client import TASKS, McpClient
from tests.support.mcp_sdk import client_of, text_of

CODE = """
    import asyncio
    from pathlib import Path

    async def double(n: int) -> dict:
        return {"n": n * 2}

    async def slow(tracer, steps: int = 3) -> str:
        for number in range(steps):
            await tracer.progress(number, steps, "working")
            await asyncio.sleep(0.5)
        return "done"

    async def review(tracer, text: str = "draft") -> dict:
        answer = await tracer.lock("review", {"text": text})
        Path("report.txt").write_text(f"{text}: {answer['ok']}")
        async with await tracer.fs() as fs:
            await fs.upload("report.txt")
        return answer
"""


@pytest.fixture(scope="module")
def plane(koco: Koco) -> Koco:
    """A service with flows, and `double` with a schema of its result."""
    flows = [
        {"name": "double", "entrypoint": "doubling_app:double", "hints": {"read_only": True}},
        {"name": "slow", "entrypoint": "doubling_app:slow", "summary": "Take a while"},
        {"name": "review", "entrypoint": "doubling_app:review"},
    ]
    flows[0]["output"] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = [{"type": "boolean", "name": "ok", "label": "Is it fine?"}]
    return koco.deploy("doubling", CODE, flows=flows, locks={"review": form})


@asynccontextmanager
async def over_stdio(koco: Koco, *options: str, **more: Any) -> AsyncIterator[Any]:
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "koco", "mcp", *options], env=dict(koco.env)
    )
    async with Client(stdio_client(parameters), **more) as client:
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_uses_a_deployed_flow(plane: Koco, mode: str) -> None:
    """Over HTTP and over stdio alike: it finds the tool, calls it, and is told of progress."""
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async def use(client: Any) -> None:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert tools["doubling.double"].annotations.read_only_hint is True
        found = await client.call_tool("doubling.double", {"n": 21})
        assert found.structured_content == {"n": 42}
        wrong = await client.call_tool("doubling.double", {"n": "many"})
        assert (wrong.is_error, "n: " in text_of(wrong)) == (True, True)
        slow = await client.call_tool("doubling.slow", {}, progress_callback=note)
        assert text_of(slow) == "done"
        assert any("/3 working" in each for each in told)

    async def work() -> None:
        context = plane.context
        async with client_of(context["url"], context["key"], mode=mode) as client:
            await use(client)
        async with over_stdio(plane, mode=mode) as client:
            await use(client)

    asyncio.run(work())


def test_a_person_answers_through_the_agent(plane: Koco) -> None:
    """The lock becomes the client's question, and the flow's file a resource."""

    async def answer(context: Any, params: Any) -> Any:
        from mcp_types import ElicitResult

        return ElicitResult(action="accept", content={"ok": True})

    async def work() -> None:
        async with over_stdio(plane, mode="auto", elicitation_callback=answer) as client:
            found = await client.call_tool("doubling.review", {"text": "report"})
            assert found.structured_content["ok"] is True
            uri = next(str(each.uri) for each in found.content if each.type == "resource_link")
            contents = (await client.read_resource(uri)).contents
            assert contents[0].text == "report: True"

    asyncio.run(work())


def test_a_task_can_be_cancelled(plane: Koco) -> None:
    """The execution ends as with `koco cancel`."""
    context = plane.context
    able = {"extensions": {TASKS: {}}}
    with McpClient(context["url"], context["key"], capabilities=able) as client:
        fid = client.call("doubling.slow", {"steps": 600})["taskId"]
        client.ask("tasks/cancel", taskId=fid)
        eventually(lambda: client.ask("tasks/get", taskId=fid)["status"] == "cancelled")
    assert plane.get(f"/v1/executions/{fid}")["status"] == "cancelled"


def test_a_call_survives_the_control_plane(plane: Koco) -> None:
    """The agent on stdio notices nothing of its death; the flow runs once."""

    async def work() -> None:
        async with over_stdio(plane, mode="auto") as client:
            call = asyncio.create_task(client.call_tool("doubling.slow", {"steps": 8}))
            await asyncio.sleep(1.5)
            await asyncio.to_thread(kill9, plane.control_pid())
            found = await call
            assert (found.is_error, text_of(found)) == (False, "done")
            fid = found.meta["koco/fid"]
            items = plane.get("/v1/executions", flow="doubling/slow", limit=100)["items"]
            mine = [each for each in items if each["inputs"].get("steps") == 8]
            assert [each["fid"] for each in mine] == [fid]

    asyncio.run(work())
