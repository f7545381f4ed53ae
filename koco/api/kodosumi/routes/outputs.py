"""Executions: `/outputs/status`, `/outputs/raw`, `/outputs/html`, and their end or deletion."""

import contextlib
from functools import partial
from html import escape
from typing import Any

import msgspec
from litestar import MediaType, Response, delete, get

from koco.api.http import audit, auth
from koco.api.http.rendering import render_apart
from koco.api.http.request import Request
from koco.api.kodosumi import bodies
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes import events, facts, payloads
from koco.api.routes.executions.executions import remove
from koco.api.routes.executions.results import read_outcome, wait_for_end
from koco.errors import ConflictError, UsageError
from koco.events.model import Status
from koco.store.model import Execution

#: The text of a result that is not there yet, as Markdown.
_PATIENCE = {"type": "markdown", "body": "no result, yet. please be patient."}
#: How long an execution may take to end before it is deleted, and how long that is waited for
#: (seconds).
_GRACE_S, _WAIT_S = 1.0, 30.0
#: The most executions that one request deletes.
_MOST = 1000
#: A flow's page is not trusted: it may have no scripts, forms, requests or origin. Its own links
#: to files open in another tab.
_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<base target="_blank"></head><body><main>{main}</main></body></html>'
)


@get("/outputs/status/{fid:str}", guards=[requires("read")])
async def show_status(request: Request, fid: str) -> dict[str, Any]:
    """Show an execution: its status, its final text, its open locks, and its flow's metadata."""
    parts = request.parts
    execution = await auth.find_execution(request, fid)
    about = msgspec.to_builtins(await facts.read(parts, execution))
    locks = await parts.store.locks.all_of(execution.id)
    stamp = execution.finished or execution.started or execution.created
    return {
        "status": facts.status_of(execution.status),
        "timestamp": facts.seconds(stamp),
        "final": await facts.final_text(parts, execution),
        **about,
        "locks": [lock.lid for lock in locks if lock.status == "open"],
    }


@get("/outputs/raw/{fid:str}", guards=[requires("read")])
async def show_result(request: Request, fid: str) -> Response[str]:
    """Return the outcome, below the name of its type."""
    execution = await auth.find_execution(request, fid)
    text = await facts.final_text(request.parts, execution) or payloads.serialize(_PATIENCE)
    return Response(text, media_type=bodies.JSON)


@get("/outputs/html/{fid:str}", guards=[requires("read")])
async def show_page(request: Request, fid: str) -> Response[str]:
    """Show the outcome as a page."""
    parts = request.parts
    execution = await auth.find_execution(request, fid)
    value: Any = _PATIENCE
    if execution.status is Status.FINISHED:
        value = msgspec.to_builtins(await read_outcome(parts, execution)).get("result")
    elif execution.status.is_final:
        value = msgspec.json.decode(await facts.final_text(parts, execution) or "{}")
        value = {"type": "text", "body": value["Text"]["body"]}
    about = await facts.read(parts, execution)
    main = await render_apart(request.auth.holder, partial(events.to_html, value))
    page = _PAGE.format(title=escape(about.summary or execution.fid), main=main)
    headers = {"Content-Security-Policy": _POLICY}
    return Response(page, media_type=MediaType.HTML, headers=headers)


@delete("/outputs/{fid:str}", status_code=204, guards=[requires("launch")])
async def delete_execution(request: Request, fid: str) -> None:
    """Delete an execution. One that has not ended is cancelled first."""
    await _delete(request, await auth.find_execution(request, fid))


@delete("/outputs", status_code=204, guards=[requires("launch")])
async def delete_executions(request: Request) -> None:
    """Delete the executions in the body's list `fid`. Those that have not ended are cancelled."""
    given = await bodies.read_object(request)
    fids = given.get("fid")
    if not isinstance(fids, list) or not all(isinstance(each, str) and each for each in fids):
        raise UsageError(
            "`fid` must be a list of fids", hint='such as {"fid": ["wrq429s8exka3r9k"]}'
        )
    if len(fids) > _MOST:
        raise UsageError(f"at most {_MOST} executions are deleted at once, got {len(fids)}")
    audit.add(request, fids=fids)
    # All are found before the first is deleted, so that a wrong fid deletes nothing.
    found = [await auth.find_execution(request, fid) for fid in dict.fromkeys(fids)]
    for each in found:
        await _cancel(request, each)
    for each in found:
        await _delete(request, each)


async def _cancel(request: Request, execution: Execution) -> None:
    """Ask an execution to end, unless it has or was asked already."""
    if not (execution.status.is_final or execution.is_ending):
        with contextlib.suppress(ConflictError):  # it has ended a moment ago
            await request.parts.supervisor.cancel(execution.fid, grace_s=_GRACE_S)


async def _delete(request: Request, execution: Execution) -> None:
    """Delete an execution, and cancel it before if it has not ended."""
    parts = request.parts
    now = await parts.store.executions.get(execution.fid)
    if not now.status.is_final:
        await _cancel(request, now)
        with parts.streams.open(request.auth):
            now = await wait_for_end(parts, now, timeout_s=_WAIT_S)
    if not now.status.is_final:
        raise ConflictError(
            f"execution {now.fid} has not ended within {_WAIT_S:g} s of its cancellation",
            hint="delete it again in a while",
        )
    await remove(parts, now)


ROUTES = (delete_execution, delete_executions, show_page, show_result, show_status)
