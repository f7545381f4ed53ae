"""What clients ask, by method, and the answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from koco.api.agents.mcp import (
    calling,
    listening,
    messages,
    resources,
    tasks,
    tools,
    versions,
)
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError
from koco.api.routes import flows
from koco.errors import NotFoundError

#: How many tools a page lists.
_PAGE = 500

Answer = dict[str, Any] | AsyncGenerator[bytes, None]

_ABOUT = (
    "Each tool runs a flow on a koco control plane. A run goes on even if the client leaves; its id"
    " (fid) is the id of its task, and koco://executions/{fid} shows it. A call repeated with the"
    f" same _meta[{versions.KEY!r}] meets the same run."
)


async def answer(ask: Ask) -> Answer | None:
    """Return the answer to a message; None if it needs none.

    Raises:
        RpcError: it is refused.
        KocoError: what it asks for is refused, as on `/v1`.
    """
    service = ask.service
    if service is not None:
        known = {each.service for each in flows.visible(ask.calls.request)}
        if service not in known:
            raise NotFoundError(f"no service is called {service[:200]!r}")
    if not ask.message.is_request:
        return None  # nothing that a client may tell changes anything here
    name = ask.message.method or ""
    method = (_MODERN if ask.is_modern else _LEGACY).get(name)
    if method is None:
        raise RpcError(versions.NO_METHOD, f"there is no method {name[:80]!r}")
    return await method(ask)


async def _initialize(ask: Ask) -> Answer:
    wanted = ask.message.params.get("protocolVersion")
    version = wanted if wanted in versions.LEGACY else versions.LEGACY[0]
    return {
        "protocolVersion": version,
        "capabilities": {"tools": {}, "resources": {}},
        "serverInfo": messages.server_info(),
        "instructions": _instructions(ask),
    }


async def _discover(ask: Ask) -> Answer:
    known = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
    answer = {
        "supportedVersions": [*versions.MODERN, *versions.LEGACY],
        "capabilities": {**known, "extensions": {versions.TASKS: {}}},
        "instructions": _instructions(ask),
    }
    return resources.cached(ask, answer, ttlMs=60_000)


def _instructions(ask: Ask) -> str:
    if ask.service is None:
        return _ABOUT
    about = ask.calls.parts.catalog.release(ask.service).manifest.description
    return f"{about.strip()}\n\n{_ABOUT}".strip()


async def _ping(ask: Ask) -> Answer:
    return {}


async def _list_tools(ask: Ask) -> Answer:
    cursor = ask.message.cursor
    entries = [each for each in tools.listing(ask) if cursor is None or each.name > cursor]
    page = entries[:_PAGE]
    found: dict[str, Any] = {"tools": [tools.describe(ask, each) for each in page]}
    found |= {"nextCursor": page[-1].name} if len(entries) > _PAGE else {}
    return resources.cached(ask, found, ttlMs=30_000)


async def _call_tool(ask: Ask) -> Answer:
    try:
        return await calling.call(ask)
    except NotFoundError as exc:
        raise RpcError(versions.INVALID_PARAMS, exc.message) from exc


async def _list_templates(ask: Ask) -> Answer:
    return resources.templates(ask)


Method = Callable[[Ask], Awaitable[Answer]]

_SHARED: dict[str, Method] = {
    "tools/list": _list_tools,
    "tools/call": _call_tool,
    "resources/list": resources.listing,
    "resources/read": resources.read,
    "resources/templates/list": _list_templates,
}
_MODERN: dict[str, Method] = {
    **_SHARED,
    "server/discover": _discover,
    "subscriptions/listen": listening.listen,
    **{"tasks/get": tasks.get, "tasks/update": tasks.update, "tasks/cancel": tasks.cancel},
}
_LEGACY: dict[str, Method] = {**_SHARED, "initialize": _initialize, "ping": _ping}
