"""Streaming answers: counted, closed from outside, and sent in slices because readers may stall."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from litestar.response import Stream
from litestar.response.streaming import ASGIStreamingResponse

from koco.api.http.request import Request
from koco.api.openapi.annotations import EVENT_STREAM, NDJSON
from koco.control.access.caller import Caller
from koco.control.access.open_streams import Stream as OpenStream
from koco.control.access.open_streams import Streams
from koco.errors import KocoError, UnreachableError

log = logging.getLogger(__name__)

#: The size of one write to a connection (bytes). The connection buffers it until the client takes
#: it.
_SLICE_BYTES = 64 * 1024


class RevocableStream(Stream):
    """An answer that ends when its caller's credential is no longer valid.

    It is refused if the caller has too many streams open.
    """

    is_whole = False

    def __init__(self, request: Request, pieces: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(pieces, **options)
        self._streams = request.parts.streams
        self._caller = request.auth

    def to_asgi_response(self, app: Any, request: Any, **more: Any) -> Any:
        """Return a streaming response."""
        sent = super().to_asgi_response(app, request, **more)
        assert isinstance(sent, ASGIStreamingResponse)
        return _StreamResponse(sent, self._streams, self._caller, is_whole=self.is_whole)


class WholeStream(RevocableStream):
    """A streaming answer that is useless unless it is complete.

    If an error comes before its first piece, the error is the answer. If it comes later, the
    connection is closed.
    """

    is_whole = True


class LiveStream(RevocableStream):
    """A streaming answer to the caller of a request, sent piece by piece."""

    def __init__(
        self,
        request: Request,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})}
        super().__init__(request, pieces, media_type=media_type, headers=headers)


def media_type_for(request: Request) -> str:
    """Return how a stream is sent: server-sent events if `Accept` asks for them, else NDJSON."""
    return EVENT_STREAM if EVENT_STREAM in request.headers.get("accept", "") else NDJSON


class _StreamResponse:
    """An ASGI application that sends a stream's head and its pieces."""

    def __init__(
        self, head: ASGIStreamingResponse, streams: Streams, caller: Caller, *, is_whole: bool
    ) -> None:
        self._head = head
        self._is_whole = is_whole or "content-length" in head.headers
        self._streams = streams
        self._caller = caller

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pieces: Any = self._head.iterator
        first = b""
        has_begun = False
        try:
            with self._streams.open(self._caller) as stream:
                if self._is_whole and not self._head.is_head_response:
                    first = await anext(pieces, b"")
                await self._head.start_response(send)
                has_begun = True
                if not self._head.is_head_response:
                    await _send_piece(first, send)
                    first = b""  # it is not kept while the next one is waited for
                    await _send(pieces, send, until=_end_on_disconnect(receive, stream))
        except KocoError as exc:
            if not has_begun:
                raise
            # The client reconnects from where it was, and then gets the same error as an answer.
            log.info("a stream of %r ends: %s", self._caller.name, exc)
            if self._is_whole:
                return  # the server closes the connection: the answer is incomplete
        finally:
            await pieces.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(pieces: Any, send: Any, *, until: Coroutine[Any, Any, None]) -> None:
    watching = asyncio.create_task(until)
    try:
        async for piece in pieces:
            await _send_piece(piece, send)
            piece = b""  # noqa: PLW2901 - it is not kept while the next one is waited for
    finally:
        watching.cancel()


async def _send_piece(piece: bytes, send: Any) -> None:
    for at in range(0, len(piece), _SLICE_BYTES):
        body = piece[at : at + _SLICE_BYTES]
        await send({"type": "http.response.body", "body": body, "more_body": True})
    if len(piece) > _SLICE_BYTES:
        await asyncio.sleep(0)  # more may follow for a long time, and others need the loop


async def _end_on_disconnect(receive: Any, stream: OpenStream) -> None:
    """End a stream when its client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end(UnreachableError("the client disconnected"))
