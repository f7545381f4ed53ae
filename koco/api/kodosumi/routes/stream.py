"""Event streams in Kodosumi's form: `/outputs/stream`, `/outputs/main`, `/outputs/stdio`.

Each event has the number, the kind, and as data its time (seconds since the epoch), a colon and
the text. `alive` comes while there is nothing new, `eof` at the end.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

import msgspec
from litestar import get

from koco.api.http import auth
from koco.api.http.rendering import render_apart
from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes import events, facts
from koco.api.kodosumi.shapes.events import Translator
from koco.control.events.chunk_reader import NDJSON, Wanted
from koco.events.model import Kind, Status
from koco.store.model import LAST, Execution


class _Head(msgspec.Struct):
    """The beginning of an event."""

    seq: int
    kind: str


#: How often `alive` is sent if there is nothing new (seconds).
_ALIVE_S = 3.0
#: The largest event that is translated (bytes of its JSON), because it is held in memory.
_LARGEST_BYTES = 8 * 1024 * 1024
#: The largest event that is translated on the loop, without a conversion (bytes of its JSON).
_QUICK_BYTES = 16 * 1024
#: How long events are translated on the loop at a stretch (seconds).
_STRETCH_S = 0.005
_TOO_LARGE = "the event is too large for this stream: /v1/executions/{}/events has it"

_head_of = msgspec.json.Decoder(type=_Head).decode

_BREAK = re.compile(r"\r\n|\r|\n")


@get("/outputs/stream/{fid:str}", guards=[requires("read")])
async def stream_events(request: Request, fid: str) -> LiveStream:
    """Stream all events, with their payloads as JSON."""
    return await _stream(request, fid, frozenset(), as_html=False)


@get("/outputs/main/{fid:str}", guards=[requires("read")])
async def stream_main_events(request: Request, fid: str) -> LiveStream:
    """Stream the events about results, as HTML; with `raw` in the query, as JSON."""
    as_html = "raw" not in request.query_params
    return await _stream(request, fid, events.MAIN, as_html=as_html)


@get("/outputs/stdio/{fid:str}", guards=[requires("read")])
async def stream_output(request: Request, fid: str) -> LiveStream:
    """Stream printed output as HTML; with `raw` in the query, unchanged."""
    as_html = "raw" not in request.query_params
    return await _stream(request, fid, events.STDIO, as_html=as_html)


async def _stream(
    request: Request, fid: str, kinds: frozenset[Kind], *, as_html: bool
) -> LiveStream:
    execution = await auth.find_execution(request, fid)
    translator = Translator(await facts.read(request.parts, execution), as_html=as_html)
    given = request.headers.get("last-event-id", "")
    since = int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else 0
    pieces = _pieces(request, execution, kinds, translator, since=min(since, LAST))
    return LiveStream(request, pieces, media_type="text/event-stream")


async def _pieces(
    request: Request,
    execution: Execution,
    kinds: frozenset[Kind],
    translator: Translator,
    *,
    since: int,
) -> AsyncGenerator[bytes, None]:
    """Yield server-sent events until the execution has ended."""
    parts = request.parts
    names = frozenset(str(each) for each in kinds)
    news = parts.spooler.follow(
        execution,
        Wanted(names, NDJSON, tells_end=True),
        since=since,
        heartbeat_s=min(_ALIVE_S, parts.heartbeat_s),
    )
    # Clients go on from the number that came last, even if it was that of `alive`.
    last, pause_at = since, time.monotonic() + _STRETCH_S
    async for line in _lines(news):
        if not line:
            yield _event(last, "alive", f"{time.time()}:service alive")
            continue
        if len(line) > _LARGEST_BYTES:
            yield _event(last, "alive", f"{time.time()}:{_TOO_LARGE.format(execution.fid)}")
            continue
        head, translate = _head_of(line), partial(_translate, translator, kinds, line)
        is_quick = len(line) <= _QUICK_BYTES and not translator.converts(head.kind)
        piece = translate() if is_quick else await render_apart(request.auth.holder, translate)
        last = head.seq
        if piece:
            yield piece
        if time.monotonic() > pause_at:
            await asyncio.sleep(0)  # more may follow for a long time, and others need the loop
            pause_at = time.monotonic() + _STRETCH_S
    now = await parts.store.executions.get(execution.fid)
    if Status(now.status).is_final:
        yield _event(last, "eof", "end of stream")


def _translate(translator: Translator, kinds: frozenset[Kind], line: bytes) -> bytes:
    """Return the event of a line, or nothing if it is of no wanted kind."""
    event = msgspec.json.decode(line)
    text = translator.translate(event)
    if text is None or (kinds and event["kind"] not in kinds):
        return b""
    return _event(event["seq"], event["kind"], f"{facts.seconds(event['ts'])}:{text}")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield whole lines. Of a line that is too large, only a part that is too large as well."""
    rest = bytearray()
    async for piece in pieces:
        *whole, last = piece.split(b"\n")
        for part in whole:
            rest += part
            yield bytes(rest)
            rest.clear()
        if len(rest) <= _LARGEST_BYTES:
            rest += last


def _event(number: int, kind: str, data: str) -> bytes:
    """Return a server-sent event in the form of Kodosumi's server."""
    lines = "".join(f"data: {each}\r\n" for each in _BREAK.split(data))
    return f"id: {number}\r\nevent: {kind}\r\n{lines}\r\n".encode()


ROUTES = (stream_events, stream_main_events, stream_output)
