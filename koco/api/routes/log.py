"""The control plane's own log."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter
from msgspec import Meta

from koco.api.http import time_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream, media_type_for
from koco.api.openapi import shapes
from koco.api.openapi.annotations import EVENT_STREAM, STREAMS, Answer
from koco.api.openapi.shapes import Shape, text
from koco.control import log_reader
from koco.control.container import Parts
from koco.errors import NotFoundError, UsageError
from koco.trace_context import Trace

#: No more than this number of entries is asked for (a deque takes no larger number).
_MOST = 10_000_000


class LogEntry(Shape):
    """An entry of the control plane's log."""

    cursor: Annotated[str, text("4711.230", "for `cursor`: only entries after this one")]
    ts: shapes.Time
    level: Annotated[str, shapes.enum(*log_reader.LEVELS)]
    logger: Annotated[str, text("koco.control.process")]
    message: Annotated[str, text("started at http://127.0.0.1:8700")]
    request: Annotated[str | None, Meta(description="the request that it is about or came from")]
    fid: Annotated[shapes.Fid | None, Meta(description="the execution that it names")]
    trace_id: Annotated[str | None, Meta(description="the trace of that execution")]
    span_id: Annotated[str | None, Meta(description="the span that stands for all of it")]


@get(
    "/v1/log",
    guards=[requires("admin")],
    answers={
        200: Answer(
            media=dict.fromkeys(STREAMS, LogEntry),
            about="entries, one per line; blank lines and comments are heartbeats",
        )
    },
)
async def stream_log(
    request: Request,
    *,
    level: Annotated[
        str | None, Parameter(description="only of this level, or of a more serious one")
    ] = None,
    since: str | None = None,
    tail: int | None = None,
    follow: bool = False,
    cursor: Annotated[
        str | None, Parameter(description="only after the entry with this cursor")
    ] = None,
    last_event_id: str | None = Parameter(header="Last-Event-ID", default=None),
) -> LiveStream:
    """Stream the control plane's own log, oldest entry first.

    It has what is stored: 40 MB at most. Keys are masked in it.
    """
    if (tail or 0) < 0:
        raise UsageError("`tail` cannot be negative")
    wanted = log_reader.Wanted(
        log_reader.check_level(level), time_query.parse("since", since), tail and min(tail, _MOST)
    )
    parts = request.parts
    path = parts.data_dir / "control.log"
    after = last_event_id or cursor
    log_reader.Files(path, after).close()  # a wrong cursor is refused before the answer begins
    media_type = media_type_for(request)
    as_sse = media_type == EVENT_STREAM

    known: dict[str, Trace | None] = {}

    async def pieces() -> AsyncGenerator[bytes, None]:
        found = log_reader.read(
            path, wanted, cursor=after, follow=follow, heartbeat_s=parts.heartbeat_s
        )
        async for raw in found:
            entries = [await _with_trace(parts, each, known) for each in raw]
            if not entries:
                yield b":\n\n" if as_sse else b"\n"
            elif as_sse:
                yield b"".join(map(_event, entries))
            else:
                yield b"".join(msgspec.json.encode(each) + b"\n" for each in entries)

    return LiveStream(request, pieces(), media_type=media_type)


async def _with_trace(
    parts: Parts, entry: log_reader.Entry, known: dict[str, Trace | None]
) -> log_reader.Entry:
    """Return an entry with the trace of the execution that it names, if that is still there."""
    if (fid := entry.fid) is None:
        return entry
    if fid not in known:
        known[fid] = None
        with contextlib.suppress(NotFoundError):
            known[fid] = (await parts.store.executions.get(fid)).trace
    if (trace := known[fid]) is None:
        return entry
    return msgspec.structs.replace(entry, trace_id=trace.trace_id, span_id=trace.span_id)


def _event(entry: log_reader.Entry) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (entry.cursor.encode(), msgspec.json.encode(entry))


ROUTES = (stream_log,)
