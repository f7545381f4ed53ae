"""The official client of MCP drives the endpoint, in both eras."""

import asyncio
import base64
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.mcp_sdk import client_of, text_of


@pytest.fixture(params=["auto", "legacy"])
def mode(request: Any) -> str:
    found: str = request.param
    return found


def test_lists_and_calls(api: Api, mode: str) -> None:
    """With results as text and as data, which the client holds against the tool's schema."""

    async def work() -> None:
        async with client_of(api.url, mode=mode) as client:
            names = [each.name for each in (await client.list_tools()).tools]
            assert {"svc.greet", "svc.count"} <= set(names)
            greeted = await client.call_tool("svc.greet", {"who": "Ada"})
            assert text_of(greeted) == "Hello, Ada"
            counted = await client.call_tool("svc.count", {"a": 1})
            assert counted.structured_content == {"n": 1}
            failed = await client.call_tool("svc.fail", {})
            assert (failed.is_error, text_of(failed)) == (True, "ValueError: no luck")

    asyncio.run(work())


def test_progress_arrives(api: Api, mode: str) -> None:
    """Each message once, the fid first."""
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async def work() -> None:
        async with client_of(api.url, mode=mode) as client:
            arguments = {"steps": 2, "pause": 0.3}
            found = await client.call_tool("svc.slow", arguments, progress_callback=note)
            assert text_of(found) == "done"
            assert found.meta["koco/fid"] in told[0]
            assert len(told) == len(set(told)) > 1

    asyncio.run(work())


def test_reads_resources(api: Api, mode: str) -> None:
    """A file that a flow has made, and the execution."""

    async def work() -> None:
        async with client_of(api.url, mode=mode) as client:
            data = {"name": "a.txt", "data": base64.b64encode(b"text").decode()}
            found = await client.call_tool("svc.files", {"f": data})
            uri = next(str(each.uri) for each in found.content if each.type == "resource_link")
            assert (await client.read_resource(uri)).contents[0].text == "text"
            assert (await client.list_resources()).resources
            assert (await client.list_resource_templates()).resource_templates

    asyncio.run(work())


def test_a_client_that_cannot_ask_is_told_how_to_answer(api: Api, mode: str) -> None:
    """It refuses a result without data of a tool that has a schema, unless that is an error."""

    async def work() -> None:
        async with client_of(api.url, mode=mode) as client:
            await client.list_tools()
            found = await client.call_tool("svc.approve", {})
            assert found.is_error
            assert f"koco answer {found.meta['koco/fid']}" in text_of(found)

    asyncio.run(work())


def test_a_person_is_asked(api: Api) -> None:
    """The client asks, and repeats the call with the answer, by itself."""
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> Any:
        from mcp_types import ElicitResult

        asked.append(params.message)
        return ElicitResult(action="accept", content={"ok": True, "stars": 4})

    async def work() -> None:
        async with client_of(api.url, mode="auto", elicitation_callback=answer) as client:
            found = await client.call_tool("svc.review", {})
            assert (found.structured_content["stars"], asked) == (4, ["Is this fine?"])

    asyncio.run(work())
