"""The official client of MCP, with a key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def client_of(
    url: str, key: str = "ada", *, path: str = "/mcp", **options: Any
) -> AsyncIterator[Any]:
    """Yield a client that is connected to an endpoint."""
    # Imported here: it takes half a second, and only some tests need it.
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        transport = streamable_http_client(f"{url}{path}", http_client=http)
        async with Client(transport, **options) as client:
            yield client


def text_of(result: Any) -> str:
    """Return the first text of a tool's result."""
    found: str = next(each.text for each in result.content if each.type == "text")
    return found
