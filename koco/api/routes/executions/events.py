"""Events of executions, as a stream."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import Parameter
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream, media_type_for
from koco.api.openapi import shapes
from koco.api.openapi.annotations import EVENT_STREAM, STREAMS, Answer
from koco.api.openapi.shapes import Fid, Shape, Time, text
from koco.api.routes.executions.executions import STREAM_FILTERS, StreamFilters
from koco.control.container import Parts
from koco.control.events import chunk_reader, many, many_cursor
from koco.control.events.chunk_reader import NDJSON, SSE, Wanted
from koco.control.events.member import Member
from koco.errors import TooManyError, UsageError
from koco.events.model import Kind
from koco.store.model import EVERY, LAST, Execution

#: The longest text that is searched for (characters).
_SEARCH_CHARS = 1000


class Event(Shape):
    """One event of a stream. docs/events.md shows each kind's payload."""

    seq: Annotated[int, Meta(ge=1, examples=[7])]
    ts: Time
    kind: Annotated[Kind, Meta(examples=["stdout"])]
    payload: Annotated[Any, Meta(examples=["Hello, Ada"])]
    task: (
        Annotated[str, text("count", "the Ray task or actor that printed it, if it was one")]
        | UnsetType
    ) = UNSET


@get(
    "/v1/executions/{fid:str}/events",
    guards=[requires("read")],
    answers={
        200: Answer(
            media=dict.fromkeys(STREAMS, Event),
            headers=["X-Koco-Fid"],
            about="events, one per line; blank lines and comments are heartbeats",
        )
    },
)
async def stream_events(
    request: Request,
    fid: str,
    *,
    since: int = 0,
    kind: str | None = None,
    tail: int | None = None,
    follow: bool = False,
    last_event_id: int | None = Parameter(header="Last-Event-ID", default=None),
) -> LiveStream:
    """Stream events as NDJSON, or as server-sent events if `Accept` asks for them."""
    parts = request.parts
    execution = await auth.find_execution(request, fid)
    media_type = media_type_for(request)
    kinds = frozenset(list_query.names(kind, Kind))
    if min(since, tail or 0, last_event_id or 0) < 0:
        raise UsageError("`since` and `tail` cannot be negative")
    # No stream is as long, and the store does not accept larger numbers.
    since = min(max(since, last_event_id or 0), LAST)
    wanted = Wanted(kinds, SSE if media_type == EVENT_STREAM else NDJSON, tells_end=follow)

    async def pieces() -> AsyncGenerator[bytes, None]:
        start = since
        if tail is not None:
            start = await parts.spooler.tail(execution, min(tail, LAST), kinds=kinds)
            if follow:
                now = await parts.store.executions.get(execution.fid)
                # The end must be sent even if `tail` leaves it out.
                start = min(start, now.last_seq - 1) if now.status.is_final else start
            start = max(since, start)
        if follow:
            beats = parts.heartbeat_s
            events = parts.spooler.follow(execution, wanted, since=start, heartbeat_s=beats)
            async for piece in events:
                yield piece
                piece = b""  # noqa: PLW2901 - free it while waiting for the next one
        else:
            until = execution.last_seq
            async for found in parts.spooler.read(execution, wanted, since=start, until=until):
                yield found.data

    return LiveStream(
        request,
        pieces(),
        media_type=media_type,
        headers={"X-Koco-Fid": execution.fid},
    )


class EventOfMany(Event, kw_only=True):
    """One event of one of many executions. A mark has only `cursor` and `end`."""

    fid: Fid
    flow: shapes.Flow
    cursor: (
        Annotated[str, text("eJxjZGJkBgAAFgAI", "of a mark: continue from here")] | UnsetType
    ) = UNSET
    end: Annotated[bool, Meta(description="of a mark: whether nothing more comes")] | UnsetType = (
        UNSET
    )


@get(
    "/v1/events",
    guards=[requires("read")],
    answers={
        200: Answer(
            media=dict.fromkeys(STREAMS, EventOfMany),
            headers=["X-Koco-Executions"],
            about="events and marks, one per line; a mark is also the heartbeat",
        )
    },
    errors=[*list_query.ERRORS, TooManyError],
    dependencies=STREAM_FILTERS,
)
async def stream_events_of_many(
    request: Request,
    *,
    fid: list[str] | None = None,
    filters: StreamFilters,
    kind: str | None = None,
    contains: Annotated[
        str | None,
        Parameter(description="only events whose payload has this text, in any case of letters"),
    ] = None,
    tail: int | None = None,
    follow: bool = False,
    cursor: Annotated[
        str | None, Parameter(description="continue from the mark with this cursor")
    ] = None,
    last_event_id: str | None = Parameter(header="Last-Event-ID", default=None),
) -> LiveStream:
    """Stream the events of many executions, in the order of their times.

    They are those of some `fid`s, or all that match the filters, which are those of
    `GET /v1/executions`. With `follow` the stream goes on: executions that come to match join it,
    and those that end leave it; those that had ended before are in it only if `since` is given.
    `tail` is for each execution. A mark, `{"cursor", "end"}`, comes after at most a second with
    events: to continue, ask again with its cursor, and drop what you have already had since that
    mark. A stream without `follow` is complete if its last mark has `end`; a search may have to be
    continued several times.
    """
    parts = request.parts
    if (tail or 0) < 0:
        raise UsageError("`tail` cannot be negative")
    wanted = await filters.read(request)
    if fid and wanted != EVERY:
        raise UsageError("name executions by `fid` or by filters, not both")
    selection = many.Selection(
        filter=None if fid else wanted,
        sight=request.auth.sight,
        events=Wanted(frozenset(list_query.names(kind, Kind)), text=_needle(contains)),
        follow=follow,
    )
    change = int(await parts.store.changes.latest())
    given = last_event_id or cursor
    if given:
        position = many_cursor.decode(given)
        change, members = position.change, await many.resume(parts.store, selection, position)
    else:
        found = (
            [await auth.find_execution(request, each) for each in list_query.fids(fid)]
            if fid
            else await many.select(parts.store, selection)
        )
        members = [
            Member(each, since=await _start(parts, each, tail, selection.events)) for each in found
        ]
    media_type = media_type_for(request)
    stream = many.Many(
        parts.store,
        parts.spooler,
        selection,
        many.SSE if media_type == EVENT_STREAM else many.NDJSON,
        members=members,
        change=change,
        heartbeat_s=parts.heartbeat_s,
        is_new=not given,
    )
    return LiveStream(
        request,
        stream.pieces(),
        media_type=media_type,
        headers={"X-Koco-Executions": str(len(members))},
    )


def _needle(text: str | None) -> str:
    """Return the text that is searched for, as it is in JSON.

    Raises:
        UsageError: it is empty, or too long.
    """
    if text is None:
        return ""
    if not 0 < len(text) <= _SEARCH_CHARS:
        raise UsageError(f"`contains` must have 1 to {_SEARCH_CHARS} characters")
    return chunk_reader.searched(msgspec.json.encode(text)[1:-1])


async def _start(parts: Parts, execution: Execution, tail: int | None, wanted: Wanted) -> int:
    """Return the number of the event after which an execution's events are sent."""
    if tail is None:
        return 0
    return await parts.spooler.tail(execution, min(tail, LAST), kinds=wanted.kinds)


ROUTES = (stream_events, stream_events_of_many)
