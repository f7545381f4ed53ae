"""Answers in A2A's media types, whole or as a stream of server-sent events."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Request as AnyRequest
from litestar import Response
from litestar.datastructures.headers import Accept

from koco.api.http.request import Request
from koco.api.http.streaming import LiveStream
from koco.api.openapi import annotations
from koco.errors import MediaTypeError

JSON = annotations.JSON
#: The media type of the HTTP+JSON binding.
A2A = "application/a2a+json"
#: What a stream has while there is nothing to say: a comment.
HEARTBEAT = b":\n\n"


def whole(content: Any, media: str) -> Response[bytes]:
    """Return a complete answer."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), media_type=media, headers=headers)


def stream(request: Request, pieces: AsyncGenerator[bytes, None]) -> LiveStream:
    """Return an answer of server-sent events."""
    return LiveStream(request, pieces, media_type=annotations.EVENT_STREAM)


def event(content: Any) -> bytes:
    """Return an event with JSON."""
    return b"data: %b\n\n" % msgspec.json.encode(content)


def media_type(request: AnyRequest[Any, Any, Any]) -> str:
    """Return the media type of the HTTP+JSON binding's answers that a client accepts."""
    accepted = request.headers.get("accept", "*/*")
    return Accept(accepted).best_match([A2A, JSON]) or A2A


def require_json(request: Request) -> None:
    """Refuse a body that says it is not JSON.

    Raises:
        MediaTypeError: it does.
    """
    given = request.headers.get("content-type", JSON)
    kind = given.partition(";")[0].strip().lower()
    if kind != JSON and not kind.endswith("+json"):
        raise MediaTypeError(f"the body is {given[:80]!r}, but must be JSON", hint=f"send {JSON}")
