"""Errors as problem details for HTTP APIs (RFC 9457): only the body, without request or answer."""

import re

from msgspec import UNSET

from koco import tokens
from koco.api.openapi.shapes import Problem
from koco.errors import InputsError, KocoError, UsageError

#: The media type of problem details.
MEDIA_TYPE = "application/problem+json"

#: The titles of errors. All errors of a code share one.
_TITLES = {"error": "The control plane failed", "usage": "The request is invalid"}

#: The place of the mistake in the body, in msgspec's form: `Expected `int` - at `$.a[0]``.
_PLACE = re.compile(r"(?: - at `(?:key in )?\$(?P<path>[^`]*)`)")


def problem(error: KocoError, *, request: str, place: str | None = None) -> Problem:
    """Return the problem details of a request's error.

    `place` is the JSON pointer of the value that it is about, unless its message names one.
    """
    if isinstance(error, UsageError) and (found := _PLACE.search(error.message)):
        place = place or pointer(found["path"])
    traceback: str | None = getattr(error, "detail", None)
    return Problem(
        type=f"urn:koco:error:{error.code}",
        title=title(type(error)),
        status=error.http_status,
        # A path or a refused value may contain a key.
        detail=tokens.mask_all(error.message),
        code=error.code,
        hint=error.hint,
        request_id=request,
        errors=_messages(error) if isinstance(error, InputsError) else UNSET,
        traceback=UNSET if traceback is None else traceback,
        pointer=UNSET if place is None else place,
    )


def _messages(error: InputsError) -> dict[str, list[str]]:
    return {
        field: [tokens.mask_all(message) for message in messages]
        for field, messages in error.errors.items()
    }


def title(kind: type[KocoError]) -> str:
    """Return the title of a kind of error: its docstring up to the first full stop, `:` or `;`."""
    known = _TITLES.get(kind.code)
    return known or re.split(r"[:;]|\.(?:\s|$)", kind.__doc__ or kind.code)[0]


def pointer(path: str) -> str:
    """Return the JSON pointer (RFC 6901) for msgspec's form of a path, `.name[0]`."""
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path)
    names = [name or number for name, number in parts]
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in names)
