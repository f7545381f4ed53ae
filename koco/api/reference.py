"""The API's own description, for everybody: it says what the source code says, and no secrets."""

import hashlib
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State

from koco.api import document
from koco.api.document import Answer

_ABOUT = "the OpenAPI 3.1 document"


@get(
    "/openapi.json",
    headers=["If-None-Match"],
    answers={200: Answer(media={document.JSON: dict[str, Any]}, headers=["ETag"], about=_ABOUT)},
)
async def describe(request: Request[Any, Any, State]) -> Response[bytes]:
    """Describe the API in OpenAPI 3.1: all operations, shapes and errors."""
    state = request.app.state
    if "document" not in state:
        # Made for the first who asks: most control planes are never asked.
        text = msgspec.json.encode(document.make(request.app, url=state.parts.url))
        state.document = (text, f'"{hashlib.sha256(text).hexdigest()[:32]}"')
    text, etag = state.document
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers, media_type=document.JSON)
    return Response(text, headers=headers, media_type=document.JSON)


ROUTES = (describe,)
