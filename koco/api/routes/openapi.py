"""The OpenAPI document. It is public, because it reveals no more than the source code."""

from typing import Any

import msgspec
from litestar import Response, get

from koco.api.http.request import Request
from koco.api.openapi import generator, page
from koco.api.openapi.annotations import JSON, Answer
from koco.errors import NotFoundError

#: Clients may cache it but must revalidate, because another version of koco has another document.
_CHECKED = {"Cache-Control": "no-cache"}
_ABOUT = "the OpenAPI 3.1 document"


@get(
    "/openapi.json",
    answers={200: Answer(media={JSON: dict[str, Any]}, about=_ABOUT)},
)
async def describe(request: Request) -> Response[bytes]:
    """Describe the API in OpenAPI 3.1: all operations, shapes and errors."""
    return Response(_encode(request), headers=_CHECKED, media_type=JSON)


@get(
    "/docs",
    answers={200: Answer(media={"text/html": str}, headers=["ETag"], about="the page")},
    errors=[NotFoundError],
)
async def show_reader(request: Request) -> Response[str]:
    """Show the API's description as a page, if the setting `api_docs` allows it."""
    if not request.parts.settings.api_docs:
        raise NotFoundError("there is nothing at /docs", hint="`koco up --set api_docs=true`")
    shown = page.page(msgspec.json.decode(_encode(request)))
    return Response(shown, headers=_CHECKED, media_type="text/html")


def _encode(request: Request) -> bytes:
    """Return the document. Made at the first request, because most control planes never get one."""
    state = request.app.state
    if "document" not in state:
        state.document = msgspec.json.encode(generator.make(request.app, url=request.parts.url))
    made: bytes = state.document
    return made


ROUTES = (describe, show_reader)
