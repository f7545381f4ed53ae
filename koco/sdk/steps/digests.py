"""A digest of a call's arguments: equal arguments have the same one, in any process.

It must never differ for the same call, because that would end a resumed execution. So it counts
only what is known to be stable. Of an object of an unknown type, that is the name of the type.
"""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import hashlib
import pathlib
import re
import types
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from koco.events import values

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(order="deterministic").encode

#: Types of arguments that need no look at what is in them.
_ATOMS = frozenset({str, int, float, bool, type(None)})
#: Types whose values never change.
_CONSTANTS = _ATOMS | {bytes, complex, range, decimal.Decimal, uuid.UUID, dt.date, dt.datetime}
#: The deepest nesting that is looked at.
_DEEPEST = 60
#: The package whose objects are all alike.
_KOCO = "koco"


def digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the digest of a call's arguments, in hexadecimal."""
    call = (args, kwargs)
    return hashlib.blake2b(_bytes_of(call), digest_size=16).hexdigest()


def is_constant(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether nothing that counts of a call's arguments can change."""
    kinds = {*map(type, args), *map(type, kwargs.values())}
    return all(each in _CONSTANTS or _name(each) == _KOCO for each in kinds)


def _bytes_of(call: tuple[tuple[Any, ...], dict[str, Any]]) -> bytes:
    args, kwargs = call
    try:
        # Most calls have a few texts and numbers: looking at each level costs more than encoding.
        is_flat = not kwargs and _ATOMS.issuperset(map(type, args))
        if is_flat or values.is_faithful(call, has_null=False):
            return _encode(call)
    except (ValueError, OverflowError):
        pass  # half a surrogate pair, or a large number
    return _encode(_stable(call, 0))


def _stable(value: Any, depth: int) -> Any:
    """Return a value as lists, texts and numbers that are the same in any process."""
    kind = type(value)
    if value is None or kind in (bool, float):
        return value
    if depth > _DEEPEST:
        return _name(kind)
    try:
        return _convert(value, kind, depth + 1)
    except Exception:  # noqa: BLE001 - a user's object may raise anything
        return _name(kind)


def _convert(value: Any, kind: type, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return [_name(kind), value.name]
    for known, convert in _CONVERSIONS:
        if issubclass(kind, known):
            return convert(value, depth)
    if (fields := _fields(value, kind)) is not None:
        return [_name(kind), _pairs(fields, depth)]
    if kind.__module__ == "numpy" and hasattr(kind, "tobytes") and value.dtype.kind != "O":
        return [str(value.dtype), list(value.shape), value.tobytes()]
    return _name(kind)


def _fields(value: Any, kind: type) -> dict[str, Any] | None:
    """Return the fields of a dataclass, a struct, a pydantic model or an attrs object."""
    if dataclasses.is_dataclass(kind):
        # What does not count for equality is often a client, a time or a cache.
        names = [each.name for each in dataclasses.fields(value) if each.compare]
    elif issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    elif hasattr(kind, "__pydantic_fields__"):
        names = list(kind.__pydantic_fields__)
    elif hasattr(kind, "__attrs_attrs__"):
        names = [each.name for each in kind.__attrs_attrs__ if each.eq]
    else:
        return None
    return {name: getattr(value, name, None) for name in names}


def _name(kind: type) -> str:
    return _path(kind.__module__, kind.__qualname__)


def _path(module: str, name: str) -> str:
    """Return the path of a class or a function.

    Koco's own are all alike: which tracer a flow gets depends on where it runs, in a test or not.
    """
    return _KOCO if module.partition(".")[0] == _KOCO else f"{module}.{name}"


def _text(value: Any, depth: int) -> Any:
    return str.encode(value, "utf-8", "surrogatepass")


def _number(value: Any, depth: int) -> Any:
    number = int(value)
    return number if number.bit_length() < 64 else hex(number)


def _listed(value: Any, depth: int) -> Any:
    return [_stable(each, depth) for each in value]


def _set(value: Any, depth: int) -> Any:
    return sorted(_encode(_stable(each, depth)) for each in value)


def _pairs(value: Mapping[Any, Any], depth: int) -> Any:
    pairs = [(_encode(_stable(key, depth)), _stable(each, depth)) for key, each in value.items()]
    return [list(pair) for pair in sorted(pairs, key=lambda pair: pair[0])]


def _shown(value: Any, depth: int) -> Any:
    return str(value)


def _function(value: Any, depth: int) -> Any:
    return _path(value.__module__ or "", value.__qualname__)


def _partial(value: Any, depth: int) -> Any:
    return [_stable(each, depth) for each in (value.func, value.args, value.keywords)]


#: Conversions by type, the first that fits.
_CONVERSIONS: list[tuple[Any, Callable[[Any, int], Any]]] = [
    (str, _text),
    (int, _number),
    (float, lambda value, depth: float(value)),
    (bytes | bytearray | memoryview, lambda value, depth: bytes(value)),
    ((list, tuple, deque), _listed),
    ((set, frozenset), _set),
    ((dict, Mapping), _pairs),
    (
        (dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal, uuid.UUID, complex, range),
        _shown,
    ),
    (pathlib.PurePath, _shown),
    (re.Pattern, lambda value, depth: [_stable(value.pattern, depth), value.flags]),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType, type), _function),
    (functools.partial, _partial),
    (BaseException, lambda value, depth: [_name(type(value)), _stable(value.args, depth)]),
]
