"""Executions and their files as resources."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from koco import file_paths
from koco.api.agents.mcp import outcomes, versions
from koco.api.agents.mcp.asking import Ask
from koco.api.agents.mcp.messages import RpcError
from koco.api.openapi.annotations import NDJSON
from koco.api.routes.executions.executions import Execution as Shown
from koco.control.events.chunk_reader import Wanted
from koco.errors import KocoError, LimitError, NotFoundError
from koco.store.model import Execution, Filter

_URI = re.compile(r"koco://executions/(?P<fid>[a-z0-9]{1,40})(?:/(?P<part>\w+)(?:/(?P<path>.+))?)?")
#: How many executions a page lists, how much of a file and of a stream is read (bytes), and how
#: many events of it.
_PAGE = 50
_MOST_FILE = 8 * 1024 * 1024
_MOST_EVENTS = 1024 * 1024
_LATEST = 1000

_TEMPLATES = (
    ("koco://executions/{fid}", "An execution: its status, inputs, times", "application/json"),
    ("koco://executions/{fid}/result", "The result or error of an execution", "application/json"),
    ("koco://executions/{fid}/events", "The latest events of an execution", NDJSON),
    ("koco://executions/{fid}/files/{+path}", "A file of an execution, in in/ or out/", None),
)

#: What a client may do with a list of one caller's (milliseconds).
CACHE: Mapping[str, Any] = {"ttlMs": 0, "cacheScope": "private"}


def cached(ask: Ask, answer: dict[str, Any], **cache: Any) -> dict[str, Any]:
    """Return an answer with how long a modern client may keep it."""
    return {**answer, **CACHE, **cache} if ask.is_modern else answer


async def listing(ask: Ask) -> dict[str, Any]:
    """Answer `resources/list`: the caller's latest executions."""
    cursor = ask.message.cursor
    try:
        page = await ask.calls.parts.store.executions.page(
            Filter(service=ask.service), sight=ask.calls.caller.sight, limit=_PAGE, cursor=cursor
        )
    except KocoError as exc:
        raise RpcError(versions.INVALID_PARAMS, f"params.cursor: {exc.message}") from exc
    answer: dict[str, Any] = {"resources": [_describe(each) for each in page.items]}
    return cached(ask, answer | ({"nextCursor": page.next} if page.next else {}))


def templates(ask: Ask) -> dict[str, Any]:
    """Answer `resources/templates/list`."""
    found = [
        {"uriTemplate": uri, "name": about, **({"mimeType": kind} if kind else {})}
        for uri, about, kind in _TEMPLATES
    ]
    return cached(ask, {"resourceTemplates": found}, ttlMs=3_600_000, cacheScope="public")


async def read(ask: Ask) -> dict[str, Any]:
    """Answer `resources/read`."""
    uri = ask.message.text("uri")
    try:
        execution, part, path = await find(ask, uri)
        contents = await _contents(ask, execution, part, path)
    except NotFoundError as exc:
        raise RpcError(versions.INVALID_PARAMS, exc.message, data={"uri": uri}) from exc
    return cached(ask, {"contents": [{"uri": uri, **contents}]})


async def find(ask: Ask, uri: str) -> tuple[Execution, str, str]:
    """Return the execution of a resource, the part that it is, and the path of its file.

    Raises:
        NotFoundError: there is no such resource for the caller.
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise NotFoundError(f"there is no resource {uri[:200]!r}")
    execution = await ask.calls.execution(found["fid"])
    if ask.service not in (None, execution.service):
        raise NotFoundError(f"there is no resource {uri[:200]!r}")
    return execution, found["part"] or "", unquote(found["path"] or "")


async def _contents(ask: Ask, execution: Execution, part: str, path: str) -> dict[str, Any]:
    if part == "files":
        return await _file(ask, execution, path)
    if part == "events" and not path:
        return {"mimeType": NDJSON, "text": await _events(ask, execution)}
    if part == "result" and not path and execution.status.is_final:
        return _json(await ask.calls.outcome(execution))
    if not part:
        return _json(Shown.render(ask.calls.parts, execution))
    raise NotFoundError(f"{execution.fid} has no {part!r}, or not yet")


def _json(value: Any) -> dict[str, Any]:
    return {"mimeType": "application/json", "text": msgspec.json.encode(value).decode()}


async def _file(ask: Ask, execution: Execution, path: str) -> dict[str, Any]:
    try:
        place = file_paths.path(path)
    except ValueError as exc:
        raise NotFoundError(str(exc)) from exc
    file = await ask.calls.parts.store.files.get(execution.id, place)
    try:
        data = await ask.calls.content(file, most_bytes=_MOST_FILE)
    except LimitError as exc:
        url = ask.calls.url(f"/v1/executions/{execution.fid}/files/{quote(place)}")
        raise RpcError(versions.INVALID_PARAMS, f"{exc.message}: fetch {url}") from exc
    kind = outcomes.media_type(path)
    if kind.startswith("text/") or kind in ("application/json", "image/svg+xml"):
        try:
            return {"mimeType": kind, "text": data.decode()}
        except UnicodeDecodeError:
            pass
    return {"mimeType": kind, "blob": base64.b64encode(data).decode()}


async def _events(ask: Ask, execution: Execution) -> str:
    """Return the latest events, as NDJSON."""
    spooler = ask.calls.parts.spooler
    since = await spooler.tail(execution, _LATEST)
    found = b""
    async for piece in spooler.read(execution, Wanted(), since=since, until=execution.last_seq):
        found += piece.data
        if len(found) > _MOST_EVENTS:
            found = found[-_MOST_EVENTS:].partition(b"\n")[2]
    return found.decode("utf-8", "replace")


def _describe(execution: Execution) -> dict[str, Any]:
    return {
        "uri": outcomes.uri_of(execution.fid),
        "name": f"{execution.flow} {execution.fid}",
        "description": f"{execution.status}, launched {execution.created}",
        "mimeType": "application/json",
    }
