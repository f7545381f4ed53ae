"""Events of executions, as a stream."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from litestar import get
from litestar.params import Parameter
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.openapi.annotations import STREAMS, Answer
from koco.api.openapi.shapes import Shape, Time, text
from koco.control.events.chunk_reader import NDJSON, SSE, Wanted
from koco.errors import UsageError
from koco.events.model import Kind
from koco.store.model import LAST


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
    as_sse = "text/event-stream" in request.headers.get("accept", "")
    kinds = frozenset(list_query.names(kind, Kind))
    if min(since, tail or 0, last_event_id or 0) < 0:
        raise UsageError("`since` and `tail` cannot be negative")
    # No stream is as long, and the store does not accept larger numbers.
    since = min(max(since, last_event_id or 0), LAST)
    wanted = Wanted(kinds, SSE if as_sse else NDJSON, tells_end=follow)

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
        media_type="text/event-stream" if as_sse else "application/x-ndjson",
        headers={"X-Koco-Fid": execution.fid},
    )


ROUTES = (stream_events,)
