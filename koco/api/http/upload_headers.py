"""Headers of uploads, the same for blobs and bundles."""

from typing import Any

from litestar import Response

from koco.api.http.request import Request
from koco.api.openapi.annotations import Answer, Body
from koco.control.storage.blobs import BusyError, OffsetError
from koco.errors import NoRoomError, TimedOutError, TooManyError, UsageError

_HEADERS = ["Upload-Offset", "Upload-Complete"]
#: Answers about an upload: how much has arrived, and whether it is complete.
SHOWN = {200: Answer(headers=_HEADERS)}
#: Answers to a piece of an upload.
TAKEN: dict[str, Any] = {
    "body": Body(media={"application/octet-stream": bytes}),
    "headers": ["Upload-Offset", "Upload-Length"],
    "answers": {204: Answer(headers=_HEADERS)},
    "errors": [OffsetError, BusyError, TooManyError, NoRoomError, TimedOutError],
}


def answer(offset: int, *, is_complete: bool, status_code: int) -> Response[None]:
    """Return an answer with the size that has arrived and whether the upload is complete."""
    headers = {
        "Upload-Offset": str(offset),
        # A boolean of HTTP's structured fields, as in the IETF's draft on resumable uploads.
        "Upload-Complete": "?1" if is_complete else "?0",
        "Cache-Control": "no-store",
    }
    return Response(None, status_code=status_code, headers=headers)


def read(request: Request) -> tuple[int, int]:
    """Return the offset at which a request continues, and the upload's total length (bytes).

    Raises:
        UsageError: a header is missing, or is not a number.
    """
    return _number(request, "Upload-Offset"), _number(request, "Upload-Length")


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"{name} must be a number of bytes, got {text[:40]!r}")
    return int(text)
