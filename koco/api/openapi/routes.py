"""The API's own description, for everybody: it says what the source code says, and no secrets."""

from typing import Any

import msgspec
from litestar import Request, Response, get

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
async def describe(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Describe the API in OpenAPI 3.1: all operations, shapes and errors."""
    return Response(_made(request), headers=_CHECKED, media_type=JSON)


@get(
    "/docs",
    answers={200: Answer(media={"text/html": str}, headers=["ETag"], about="the page")},
    errors=[NotFoundError],
)
async def show_reader(request: Request[Any, Any, Any]) -> Response[str]:
    """Show the API's description as a page, if the setting `api_docs` allows it."""
    if not request.app.state.parts.settings.api_docs:
        raise NotFoundError("there is nothing at /docs", hint="`koco up --set api_docs=true`")
    shown = page.page(msgspec.json.decode(_made(request)))
    return Response(shown, headers=_CHECKED, media_type="text/html")


def _made(request: Request[Any, Any, Any]) -> bytes:
    """Return the document. Made at the first request, because most control planes never get one."""
    state = request.app.state
    if "document" not in state:
        state.document = msgspec.json.encode(generator.make(request.app, url=state.parts.url))
    made: bytes = state.document
    return made


ROUTES = (describe, show_reader)
