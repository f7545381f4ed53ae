"""Changes of all executions: what is new, has another status, or is gone."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import Parameter
from msgspec import Meta

from koco.api.http import list_query, time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream, media_type_for
from koco.api.openapi.annotations import EVENT_STREAM, JSON, STREAMS, Answer
from koco.api.openapi.shapes import Fid, Shape, text
from koco.api.routes.executions.executions import Execution
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.events import changes
from koco.store import model
from koco.store.model import ChangePage
from koco.store.sql import pages

#: The longest that an answer may be waited for (seconds).
_LONGEST_S = 60.0
#: The cursor that means: only changes from now on.
_NOW = "now"


class Change(Shape):
    """An execution that is new, has another status, or was deleted."""

    cursor: Annotated[str, text("4711", "for `since`: only changes after this one")]
    fid: Fid
    deleted: bool
    execution: Annotated[Execution | None, Meta(description="as it is now; null if deleted")]


class Changes(Shape):
    """Changes in their order. `next` is the `since` of the changes after them."""

    items: list[Change]
    next: str


@get(
    "/v1/changes",
    guards=[requires("read")],
    answers={
        200: Answer(
            media={
                JSON: Changes,
                **dict.fromkeys(STREAMS, Change),
            },
            about="changes; with `follow` one per line or event, blank lines are heartbeats",
        )
    },
)
async def list_changes(
    request: Request,
    *,
    since: str | None = None,
    limit: int = 50,
    wait: float = 0.0,
    follow: bool = False,
    last_event_id: str | None = Parameter(header="Last-Event-ID", default=None),
) -> Response[Any]:
    """List the executions that are new, have another status, or were deleted, since a cursor.

    Each execution is listed once, as it is now. Without `since` all are listed; `since=now` begins
    with the next change. `next`, and the `cursor` of each change, are values for `since`. If
    `items` is empty but `next` has moved, there may be more right away. With `wait`, an answer
    that would be empty waits for news. With `follow`, changes are streamed as they come, as
    NDJSON or, if `Accept` asks for them, as server-sent events.
    """
    parts = request.parts
    list_query.check_limit(limit)
    time_query.check_seconds("wait", wait, most_s=_LONGEST_S)
    cursor = last_event_id or since
    if cursor == _NOW:
        cursor = await parts.store.changes.latest()
    elif cursor is not None:
        pages.number(cursor)  # before anything is streamed
    media_type = media_type_for(request)
    as_sse = media_type == EVENT_STREAM
    if follow or as_sse:
        pieces = _pieces(parts, request.auth, cursor, as_sse=as_sse)
        return LiveStream(request, pieces, media_type=media_type)
    with parts.streams.open(request.auth):
        page = await changes.wait(
            parts.store,
            parts.spooler,
            cursor=cursor,
            sight=request.auth.sight,
            limit=limit,
            wait_s=wait,
        )
    return Response(Changes(_items(parts, page), next=page.next))


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
            # A reader that reconnects need not skip the changes that it may not see again.
            yield b"id: %b\n:\n\n" % page.next.encode() if as_sse else b"\n"
        for item in _items(parts, page):
            data = msgspec.json.encode(item)
            if as_sse:
                yield b"id: %b\ndata: %b\n\n" % (item.cursor.encode(), data)
            else:
                yield data + b"\n"


def _items(parts: Parts, page: ChangePage) -> list[Change]:
    return [
        Change(
            cursor=str(change.seq),
            fid=change.fid,
            deleted=change.execution is None,
            execution=_render(parts, change.execution) if change.execution else None,
        )
        for change in page.items
    ]


def _render(parts: Parts, execution: model.Execution) -> Execution:
    """Return an execution; if this process does not lead, without why it waits."""
    unknown = {} if parts.leadership.leads else {"waits": None}
    return Execution.render(parts, execution, **unknown)


ROUTES = (list_changes,)
