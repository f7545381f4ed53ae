"""Answers in A2A's media types, whole or as a stream of server-sent events."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from litestar import Request as AnyRequest
from litestar import Response
from litestar.datastructures.headers import Accept

from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.openapi import annotations

JSON = annotations.JSON
#: The media type of the HTTP+JSON binding.
A2A = "application/a2a+json"
#: What a stream has while there is nothing to say: a comment.
_HEARTBEAT = b":\n\n"


def whole(content: Any, media: str) -> Response[bytes]:
    """Return a complete answer."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), media_type=media, headers=headers)


def stream(
    request: Request,
    first: Any,
    others: AsyncGenerator[Any],
    wrap: Callable[[Any], Any] = lambda each: each,
) -> LiveStream:
    """Return an answer of server-sent events: the first, and the others; None is a heartbeat.

    `wrap` makes a message of the binding of each.
    """
    events = _events(first, others, wrap)
    return LiveStream(request, events, media_type=annotations.EVENT_STREAM)


async def _events(
    first: Any, others: AsyncGenerator[Any], wrap: Callable[[Any], Any]
) -> AsyncGenerator[bytes, None]:
    yield _event(wrap(first))
    async for each in others:
        yield _HEARTBEAT if each is None else _event(wrap(each))


def _event(content: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(content)


def media_type(request: AnyRequest[Any, Any, Any]) -> str:
    """Return the media type of the HTTP+JSON binding's answers that a client accepts."""
    accepted = request.headers.get("accept", "*/*")
    return Accept(accepted).best_match([A2A, JSON]) or A2A
