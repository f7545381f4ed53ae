"""The payload that a value of a flow becomes, so that Kodosumi's own shape can be made of it.

Kodosumi wraps a value in an object with its class's name: `{"TaskOutput": {…}}`. koco stores plain
JSON, and keeps the name of a class that JSON does not have as the key `$type`. Texts, numbers,
lists, objects and the bodies of `koco.kodosumi.dtypes` need none.
"""

from typing import Any

from koco.events import text_values, values

#: The key of a class's name.
TYPE = "$type"

_PLAIN = (str, int, float, bool, dict, type(None))


def shaped(value: Any) -> Any:
    """Return a value to write as an event's payload. Its fields are read when it is encoded.

    Elements of a list are treated alike, as Kodosumi wraps each of them.
    """
    kind = type(value)
    if issubclass(kind, _PLAIN) or _has(kind, "to_payload"):
        return value
    if issubclass(kind, list | tuple) and not hasattr(kind, "_fields"):
        return [shaped(each) for each in value]
    has_name = _has(kind, "model_dump") or text_values.fields_of(kind) is not None
    return _Named(value) if has_name or not values.has_conversion(kind) else value


def wrapped(value: Any) -> dict[str, Any]:
    """Return a value in Kodosumi's own shape: `{"TaskOutput": {…}}`, `{"str": "…"}`."""
    kind = type(value)
    if issubclass(kind, str | int | float | bool | dict):
        return {kind.__name__: value}
    if issubclass(kind, list | tuple):
        return {"__list__": [wrapped(each) for each in value]}
    fields = _fields(value, kind)
    has_fields = fields is not value or hasattr(value, "__dict__")
    return {kind.__name__: {} if fields is value else fields} if has_fields else _unknown(value)


def _unknown(value: Any) -> dict[str, Any]:
    return {"TypeError": str(value)}


def _has(kind: type, method: str) -> bool:
    # Its classes' own attributes: a metaclass or `__getattr__` may answer anything.
    return any(callable(vars(each).get(method)) for each in kind.__mro__)


class _Named:
    """An object, to be encoded as its fields with the name of its class."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_payload(self) -> Any:
        """Return the fields and the class's name; the object itself if it has no fields."""
        kind = type(self._value)
        fields = _fields(self._value, kind)
        return {TYPE: kind.__name__, **fields} if isinstance(fields, dict) and fields else fields

    def __repr__(self) -> str:
        return repr(self._value)


def _fields(value: Any, kind: type) -> Any:
    if _has(kind, "model_dump"):
        try:
            return value.model_dump()
        except Exception:  # noqa: BLE001 - the author's serializers; koco then reads field by field
            return value
    names = text_values.fields_of(kind)
    if names is None:
        names = [*getattr(value, "__dict__", {}), *_slots(kind)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)} or value


def _slots(kind: type) -> list[str]:
    found = [vars(each).get("__slots__", ()) for each in kind.__mro__]
    return [
        name
        for each in found
        for name in ([each] if isinstance(each, str) else each)
        if not name.startswith("__")
    ]
