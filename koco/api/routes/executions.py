"""Executions: list, show, follow, cancel, try again, delete."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.params import Parameter

from koco.api.http import audit, auth, list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.streaming import Following
from koco.api.openapi import schemas
from koco.api.openapi.annotations import Answer, Body
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.events.chunk_reader import NDJSON, SSE, Wanted
from koco.errors import ConflictError, InputsError, LimitError, TimedOutError, UsageError
from koco.events import line
from koco.events.model import FINAL, Kind, Status
from koco.store.errors import NoSearchError
from koco.store.model import LAST, Execution, Filter, masked

_OPEN = tuple(status.value for status in Status if status not in FINAL)
#: Columns that are no part of an answer.
_INTERNAL = {"id", "runner", "outcome_seq", "cancel_requested", "grace_s", "key_digest"}
_INTERNAL |= {"moments", "hidden", "policy", "timed_out"}


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How long the execution may take over ending by itself (seconds)."""

    grace_s: float = 5.0


def render(parts: Parts, execution: Execution) -> dict[str, Any]:
    """Return an execution as answers have it (`shapes.Execution`)."""
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
    answers={200: schemas.Executions},
    errors=[*list_query.ERRORS, NoSearchError, TimedOutError],
)
async def list_executions(
    request: Request[Any, Caller, State],
    *,
    status: str | None = None,
    flow: str | None = None,
    service: str | None = None,
    user: str | None = None,
    tag: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    search: str | None = None,
    active: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List executions that fit all that is asked for, newest first.

    A page may have fewer than `limit`, or none, and a `next` all the same: where few of many
    fit, it ends after a quarter of a second, and `next` goes on from there. With `search`,
    `complete` says whether all has been looked into: after an upgrade the index of what was
    there already is made in the background, newest first.
    """
    parts: Parts = request.app.state.parts
    list_query.check_limit(limit)
    wanted = Filter(
        statuses=_names(status, Status) or (_OPEN if active else ()),
        flow=list_query.full_name(request, flow),
        service=service,
        user=user,
        tags=tuple(tag or ()),
        since=time_query.moment("since", since),
        until=time_query.moment("until", until),
        search=search,
    )
    page = await parts.store.executions.page(
        wanted, sight=request.auth.sight, limit=limit, cursor=cursor
    )
    answer = {"items": [render(parts, execution) for execution in page.items], "next": page.next}
    return answer if search is None else {**answer, "complete": page.complete}


@get("/v1/executions/{fid:str}", guards=[requires("read")], answers={200: schemas.Execution})
async def show_execution(request: Request[Any, Caller, State], fid: str) -> dict[str, Any]:
    """Show an execution, by fid, unique prefix or `latest`."""
    return render(request.app.state.parts, await auth.execution(request, fid))


@post(
    "/v1/executions/{fid:str}/cancel",
    status_code=202,
    guards=[requires("launch")],
    body=Body(media={"application/json": CancelRequest}, required=False),
    answers={202: schemas.Execution},
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
    found = await auth.execution(request, fid)
    return render(parts, await parts.supervisor.cancel(found.fid, grace_s=wish.grace_s))


@post(
    "/v1/executions/{fid:str}/retry",
    guards=[requires("launch")],
    headers=["Idempotency-Key"],
    answers={201: schemas.Execution, 200: schemas.Execution},
    errors=[InputsError, ConflictError, LimitError],
)
async def retry_execution(
    request: Request[Any, Caller, State], fid: str
) -> Response[dict[str, Any]]:
    """Launch again what an execution that has ended was ordered to do, on the live release.

    Its inputs, also those that nobody is shown, its files in `in/`, its tags and entrypoint are
    the former one's; the live form must take them, a service's own endpoint is not asked again.
    201, or 200 where the idempotency key was used for the same before.
    """
    parts: Parts = request.app.state.parts
    former = await auth.execution(request, fid)
    execution, is_new = await parts.launches.retry(
        parts.catalog.find(former.flow),
        former,
        user=request.auth.name,
        key=request.headers.get("idempotency-key"),
        audited=audit.launch(request, retry_of=former.fid),
    )
    return Response(render(parts, execution), status_code=201 if is_new else 200)


@delete(
    "/v1/executions/{fid:str}",
    status_code=204,
    guards=[requires("launch")],
    answers={204: Answer()},
    errors=[ConflictError],
)
async def delete_execution(request: Request[Any, Caller, State], fid: str) -> None:
    """Remove an execution that has ended, with its events, files and locks."""
    parts: Parts = request.app.state.parts
    found = await auth.execution(request, fid)
    await parts.store.executions.delete(found.fid)
    parts.spooler.wake(found.fid)


@get(
    "/v1/executions/{fid:str}/events",
    guards=[requires("read")],
    answers={
        200: Answer(
            media=dict.fromkeys(("application/x-ndjson", "text/event-stream"), schemas.Event),
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
) -> Following:
    """Stream events as NDJSON, or as server-sent events where `Accept` asks for them."""
    parts: Parts = request.app.state.parts
    execution = await auth.execution(request, fid)
    as_sse = "text/event-stream" in request.headers.get("accept", "")
    kinds = frozenset(_names(kind, Kind))
    if min(since, tail or 0, last_event_id or 0) < 0:
        raise UsageError("`since` and `tail` cannot be negative")
    # No stream is as long; what is longer is no number to the store.
    since = min(max(since, last_event_id or 0), LAST)
    wanted = Wanted(kinds, SSE if as_sse else NDJSON, tells_end=follow)

    async def pieces() -> AsyncGenerator[bytes, None]:
        start = since
        if tail is not None:
            start = await parts.spooler.tail(execution, min(tail, LAST), kinds=kinds)
            if follow:
                now = await parts.store.executions.get(execution.fid)
                # The end must be told even where `tail` leaves it out.
                start = min(start, now.last_seq - 1) if now.status.is_final else start
            start = max(since, start)
        if follow:
            beats = parts.heartbeat_s
            events = parts.spooler.follow(execution, wanted, since=start, heartbeat_s=beats)
            async for piece in events:
                yield piece
                piece = b""  # noqa: PLW2901 - it is not kept while the next one is waited for
        else:
            until = execution.last_seq
            async for found in parts.spooler.read(execution, wanted, since=start, until=until):
                yield found.data

    return Following(
        request,
        pieces(),
        media_type="text/event-stream" if as_sse else "application/x-ndjson",
        headers={"X-Koco-Fid": execution.fid},
    )


ROUTES = (
    list_executions,
    show_execution,
    cancel_execution,
    retry_execution,
    delete_execution,
    stream_events,
)
