"""Changes of all executions: what is new, has another status, or is gone."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.params import Parameter

from koco.api.http import list_query
from koco.api.http.auth import requires
from koco.api.http.streaming import Following
from koco.api.openapi import schemas
from koco.api.openapi.annotations import JSON, STREAMS, Answer
from koco.api.routes import executions
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.events import changes
from koco.errors import UsageError
from koco.store.model import ChangePage
from koco.store.sql import pages

#: The longest that an answer may be waited for (seconds).
_LONGEST_S = 60.0
#: The cursor that means: only changes from now on.
_NOW = "now"


@get(
    "/v1/changes",
    guards=[requires("read")],
    answers={
        200: Answer(
            media={
                JSON: schemas.Changes,
                **dict.fromkeys(STREAMS, schemas.Change),
            },
            about="changes; with `follow` one a line or event, blank lines are signs of life",
        )
    },
)
async def list_changes(
    request: Request[Any, Caller, State],
    *,
    since: str | None = None,
    limit: int = 50,
    wait: float = 0.0,
    follow: bool = False,
    last_event_id: str | None = Parameter(header="Last-Event-ID", default=None),
) -> Response[Any]:
    """Tell which executions are new, have another status, or were deleted, since a cursor.

    Each execution is told once, as it is now. Without `since` all are told; `since=now` begins
    with what comes next. `next`, and the `cursor` of each change, are what to ask `since`; as
    long as `items` is empty and `next` moves, there may be more at once. With `wait` an answer
    that would be empty waits for news. With `follow` changes are streamed as they come, as
    NDJSON or, where `Accept` asks for them, as server-sent events.
    """
    parts: Parts = request.app.state.parts
    list_query.check_limit(limit)
    if not 0 <= wait <= _LONGEST_S:
        raise UsageError(f"wait must be from 0 to {_LONGEST_S:g} seconds, got {wait:g}")
    cursor = last_event_id or since
    if cursor == _NOW:
        cursor = await parts.store.changes.latest()
    elif cursor is not None:
        pages.number(cursor)  # before anything is streamed
    as_sse = "text/event-stream" in request.headers.get("accept", "")
    if follow or as_sse:
        media_type = "text/event-stream" if as_sse else "application/x-ndjson"
        pieces = _pieces(parts, request.auth, cursor, as_sse=as_sse)
        return Following(request, pieces, media_type=media_type)
    with parts.streams.open(request.auth):
        page = await changes.wait(
            parts.store,
            parts.spooler,
            cursor=cursor,
            sight=request.auth.sight,
            limit=limit,
            wait_s=wait,
        )
    return Response({"items": _items(parts, page), "next": page.next})


async def _pieces(
    parts: Parts, caller: Caller, cursor: str | None, *, as_sse: bool
) -> AsyncGenerator[bytes, None]:
    news = changes.follow(
        parts.store,
        parts.spooler,
        cursor=cursor,
        sight=caller.sight,
        heartbeat_s=parts.heartbeat_s,
    )
    async for page in news:
        if not page.items:
            # A reader that comes back need not go through what it may not see once more.
            yield b"id: %b\n:\n\n" % page.next.encode() if as_sse else b"\n"
        for item in _items(parts, page):
            data = msgspec.json.encode(item)
            if as_sse:
                yield b"id: %b\ndata: %b\n\n" % (item["cursor"].encode(), data)
            else:
                yield data + b"\n"


def _items(parts: Parts, page: ChangePage) -> list[dict[str, Any]]:
    return [
        {
            "cursor": str(change.seq),
            "fid": change.fid,
            "deleted": change.execution is None,
            "execution": executions.render(parts, change.execution) if change.execution else None,
        }
        for change in page.items
    ]


ROUTES = (list_changes,)
