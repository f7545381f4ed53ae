"""`fields=a,b`: return only these members of an item, or of each item of a list."""

from typing import Any
from urllib.parse import parse_qs

import msgspec

from koco.api.openapi import annotations
from koco.errors import UsageError

_Object = dict[str, msgspec.Raw]


def select(scope: Any, body: bytes) -> bytes:
    """Return an answer's JSON with only the members that the query names.

    Raises:
        UsageError: there is no member of that name.
    """
    query = scope["query_string"]
    if b"fields=" not in query:
        return body
    asked = parse_qs(query.decode("latin-1")).get("fields", [])
    names = [name for each in asked for name in each.split(",") if name]
    known, is_list = annotations.members(scope["route_handler"])
    if not names or not known:
        return body
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"there is no field {unknown[0][:80]!r}", hint=f"the fields are: {', '.join(known)}"
        )
    whole = msgspec.json.decode(body, type=_Object)
    if not is_list:
        return msgspec.json.encode(_some(whole, names))
    items = msgspec.json.decode(whole["items"], type=list[_Object])
    return msgspec.json.encode({**whole, "items": [_some(item, names) for item in items]})


def _some(item: _Object, names: list[str]) -> _Object:
    return {name: item[name] for name in names if name in item}
