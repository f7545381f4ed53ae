"""The JSON in the bodies of requests."""

from typing import Any

import msgspec

from koco.api.agents.a2a.faults import NOT_JSON, A2AError
from koco.api.http.request import Request
from koco.api.openapi.annotations import JSON
from koco.errors import MediaTypeError


async def read(request: Request, *, default: bytes = b"") -> Any:
    """Return the JSON in a body; `default` is read instead of an empty one.

    Raises:
        MediaTypeError: the body says that it is not JSON.
        A2AError: it is not JSON.
    """
    given = request.headers.get("content-type", JSON)
    if not is_json(given):
        raise MediaTypeError(f"the body is {given[:80]!r}, but must be JSON", hint=f"send {JSON}")
    try:
        return msgspec.json.decode(await request.body() or default)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise A2AError(NOT_JSON, f"the body is not JSON: {exc}") from exc


def kind_of(media_type: str) -> str:
    """Return a media type without its parameters."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether a media type is one of JSON."""
    kind = kind_of(media_type)
    return kind == JSON or kind.endswith("+json")
