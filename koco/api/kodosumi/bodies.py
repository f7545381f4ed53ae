"""Reading bodies of Kodosumi's clients: JSON objects, and forms of browsers."""

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from koco.api.http.request import Request
from koco.errors import UsageError

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_MULTIPART = "multipart/form-data"
#: The most fields of a form.
_FIELDS = 1000


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without parameters, or an empty string."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        UsageError: the body is not a form.
    """
    try:
        text = (await request.octets()).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError as exc:
        raise UsageError(f"the body is not a form: {exc}") from exc


async def is_json(request: Request) -> bool:
    """Return whether a body is said to be JSON, or is it although it is said to be a form.

    `curl -d` calls everything a form. A form's text has no `{` at its beginning.
    """
    kind = media_type(request)
    return kind == JSON or (kind == FORM and (await request.octets()).lstrip()[:1] == b"{")


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in a body, or the fields of a form. An empty body is an empty object.

    Raises:
        UsageError: the body is neither.
    """
    kind = media_type(request)
    if kind == FORM and not await is_json(request):
        return dict(await read_form(request))
    if kind == _MULTIPART:
        raise UsageError("the body is a multipart form", hint=f"send {JSON} or {FORM}")
    try:
        found = msgspec.json.decode(await request.body() or b"{}")
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(f"the body is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise UsageError(f"the body is a JSON {type(found).__name__}", hint="send an object")
    return found
