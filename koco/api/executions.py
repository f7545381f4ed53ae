"""Executions: list, show, follow, cancel."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from koco.api import access, lists, shapes
from koco.api.access import requires
from koco.api.document import Answer, Body
from koco.control.caller import Caller
from koco.control.parts import Parts
from koco.control.spooler import Lines, is_end
from koco.errors import UsageError
from koco.events import line
from koco.events.model import FINAL, Kind, Status
from koco.store.model import LAST, Execution, Filter, masked

_OPEN = tuple(status.value for status in Status if status not in FINAL)
#: Columns that are no part of an answer.
_INTERNAL = {"id", "runner", "outcome_seq", "cancel_requested", "grace_s", "key_digest"}
_INTERNAL |= {"moments", "hidden", "policy", "timed_out"}


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long the execution may take over ending by itself (seconds)."""

    grace_s: float = 5.0


def _render(parts: Parts, execution: Execution) -> dict[str, Any]:
    fields = msgspec.structs.asdict(execution)
    fields["inputs"] = masked(execution.inputs, execution.hidden)
    for name in ("not_before", "deadline"):
        fields[name] = line.timestamp(fields[name]) if fields[name] is not None else None
    fields["attempts"] = 1 + execution.policy.retries
    # Why one that is queued is not under way.
    fields["waits"] = parts.supervisor.why(execution)
    return {key: value for key, value in fields.items() if key not in _INTERNAL}


def _names(given: str | None, known: type[Kind] | type[Status]) -> tuple[str, ...]:
    """Return the names in a comma-separated parameter, each checked."""
    names = tuple(name for name in (given or "").split(",") if name)
    for name in names:
        if name not in set(known):
            raise UsageError(
                f"no {known.__name__.lower()} is called {name!r}",
                hint=f"one of: {', '.join(known)}",
            )
    return names


@get(
    "/v1/executions",
    guards=[requires("read")],
    answers={200: shapes.Page[shapes.Execution]},
    errors=lists.ERRORS,
)
async def list_executions(
    request: Request[Any, Caller, State],
    *,
    status: str | None = None,
    flow: str | None = None,
    active: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List executions, newest first; `active` leaves out those that have ended."""
    parts: Parts = request.app.state.parts
    lists.check_limit(limit)
    statuses = _names(status, Status) or (_OPEN if active else ())
    name = lists.full_name(request, flow)
    page = await parts.store.executions(
        Filter(statuses=statuses, flow=name), sight=request.auth.sight, limit=limit, cursor=cursor
    )
    return {"items": [_render(parts, execution) for execution in page.items], "next": page.next}


@get("/v1/executions/{fid:str}", guards=[requires("read")], answers={200: shapes.Execution})
async def show_execution(request: Request[Any, Caller, State], fid: str) -> dict[str, Any]:
    """Show an execution, by fid, unique prefix or `latest`."""
    return _render(request.app.state.parts, await access.execution(request, fid))


@post(
    "/v1/executions/{fid:str}/cancel",
    status_code=202,
    guards=[requires("launch")],
    body=Body(media={"application/json": CancelRequest}, required=False),
    answers={202: shapes.Execution},
)
async def cancel_execution(request: Request[Any, Caller, State], fid: str) -> dict[str, Any]:
    """Ask an execution to end; it is killed if it has not after the grace period."""
    try:
        wish = msgspec.json.decode(await request.body() or b"{}", type=CancelRequest)
    except msgspec.DecodeError as exc:
        raise UsageError(f"the body: {exc}", hint='such as {"grace_s": 5}, or none') from exc
    if not 0 <= wish.grace_s <= 3600:
        raise UsageError(f"grace_s must be from 0 to 3600 seconds, got {wish.grace_s:g}")
    parts: Parts = request.app.state.parts
    found = await access.execution(request, fid)
    return _render(parts, await parts.supervisor.cancel(found.fid, grace_s=wish.grace_s))


@get(
    "/v1/executions/{fid:str}/events",
    guards=[requires("read")],
    answers={
        200: Answer(
            media=dict.fromkeys(("application/x-ndjson", "text/event-stream"), shapes.Event),
            headers=["X-Koco-Fid"],
            about="events, one a line; blank lines and comments are signs of life",
        )
    },
)
async def stream_events(
    request: Request[Any, Caller, State],
    fid: str,
    *,
    since: int = 0,
    kind: str | None = None,
    tail: int | None = None,
    follow: bool = False,
    last_event_id: int | None = Parameter(header="Last-Event-ID", default=None),
) -> Stream:
    """Stream events as NDJSON, or as server-sent events where `Accept` asks for them."""
    parts: Parts = request.app.state.parts
    execution = await access.execution(request, fid)
    as_sse = "text/event-stream" in request.headers.get("accept", "")
    render = _sse if as_sse else _ndjson
    kinds = frozenset(_names(kind, Kind))
    if min(since, tail or 0, last_event_id or 0) < 0:
        raise UsageError("`since` and `tail` cannot be negative")
    # No stream is as long; what is longer is no number to the store.
    since = min(max(since, last_event_id or 0), LAST)

    async def pieces() -> AsyncIterator[bytes]:
        start = since
        if tail is not None:
            lines, start = await parts.spooler.tail(execution, tail, kinds=kinds)
            yield render([pair for pair in lines if pair[0] > since])
            if follow and not (lines and is_end(lines[-1][1])):
                now = await parts.store.execution(execution.fid)
                # The end must be told even where `kind` or `tail` leaves it out.
                start = min(start, now.last_seq - 1) if now.status.is_final else start
            start = max(since, start)
        events = (
            parts.spooler.follow(execution, since=start, kinds=kinds, heartbeat_s=parts.heartbeat_s)
            if follow
            else parts.spooler.read(execution, since=start, until=execution.last_seq, kinds=kinds)
        )
        async for lines in events:
            yield render(lines) or (b":\n\n" if as_sse else b"\n") * follow

    return Stream(
        pieces(),
        media_type="text/event-stream" if as_sse else "application/x-ndjson",
        headers={"X-Koco-Fid": execution.fid, "Cache-Control": "no-store"},
    )


def _ndjson(lines: Lines) -> bytes:
    return b"".join([b'{"seq":%d,%b\n' % pair for pair in lines])


def _sse(lines: Lines) -> bytes:
    return b"".join(
        b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, line.kind_of(text), line.with_seq(seq, text))
        for seq, text in lines
    )


ROUTES = (list_executions, show_execution, cancel_execution, stream_events)
