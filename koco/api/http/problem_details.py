"""Errors as problem details for HTTP APIs (RFC 9457): only the body, without request or answer."""

import re
from typing import Any

from koco import tokens
from koco.errors import KocoError, UsageError

#: The media type of problem details.
MEDIA_TYPE = "application/problem+json"

#: The titles of errors. All errors of a code share one.
_TITLES = {"error": "The control plane failed", "usage": "The request is invalid"}

#: The place of the mistake in the body, in msgspec's form: `Expected `int` - at `$.a[0]``.
_PLACE = re.compile(r"(?: - at `(?:key in )?\$(?P<path>[^`]*)`)")


def problem(error: KocoError, *, request: str) -> dict[str, Any]:
    """Return the problem details of a request's error."""
    told: dict[str, Any] = {
        "type": f"urn:koco:error:{error.code}",
        "title": title(type(error)),
        "status": error.http_status,
        # A path or a refused value may contain a key.
        "detail": tokens.mask_all(error.message),
        "code": error.code,
        "hint": error.hint,
        "request_id": request,
    }
    wire = error.to_wire()
    if "errors" in wire:
        said = wire["errors"].items()
        told["errors"] = {field: [tokens.mask_all(each) for each in those] for field, those in said}
    if (traceback := wire["error"].get("detail")) is not None:
        told["traceback"] = traceback
    if isinstance(error, UsageError) and (found := _PLACE.search(error.message)):
        told["pointer"] = pointer(found["path"])
    return told


def title(kind: type[KocoError]) -> str:
    """Return the title of a kind of error: its docstring up to the first full stop, `:` or `;`."""
    known = _TITLES.get(kind.code)
    return known or re.split(r"[:;]|\.(?:\s|$)", kind.__doc__ or kind.code)[0]


def pointer(path: str) -> str:
    """Return the JSON pointer (RFC 6901) for msgspec's form of a path, `.name[0]`."""
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path)
    names = [name or number for name, number in parts]
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in names)
