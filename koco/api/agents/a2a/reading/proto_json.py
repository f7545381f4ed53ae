"""Read requests as ProtoJSON has them (protobuf.dev/programming-guides/json).

Names may be in camelCase or as in the .proto file. Unknown members and nulls are ignored. A number
may be a text.
"""

from typing import Any, TypeVar

import msgspec

from koco.api.agents.a2a.faults import PARAMS, A2AError

Kind = TypeVar("Kind", bound=msgspec.Struct)

#: Members whose content is the client's own: any JSON.
_OPAQUE = frozenset({"data", "metadata"})


def read(value: Any, kind: type[Kind]) -> Kind:
    """Return a request as a struct.

    Raises:
        A2AError: it does not fit. The error names the field.
    """
    if not isinstance(value, dict):
        raise A2AError(PARAMS, "the parameters must be an object")
    try:
        return msgspec.convert(_named(value), kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as exc:
        why, _, at = str(exc).partition(" - at `$.")
        field = at.rstrip("`")
        raise A2AError(PARAMS, str(exc), violations={field: why} if field else {}) from exc


def _named(value: Any) -> Any:
    """Return JSON with the names of its members in camelCase, and without nulls."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = ((_camel(name), each) for name, each in value.items())
    return {
        name: each if name in _OPAQUE else _named(each)
        for name, each in members
        if each is not None or name == "data"
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
