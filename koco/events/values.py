"""Conversion of any Python value to plain data that `msgspec` can encode.

Values are the user's: their methods may raise, lie, or never return. So the conversion looks at
a value's type and never at an instance's attributes to recognise it, and the work for one payload
has a limit. The table in docs/events.md lists the conversions.
"""

import datetime as dt
import enum
import functools
import time
import types
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

import msgspec

from koco.events import libraries, text_values

#: The deepest nesting of lists and objects. Readers have limits, too: jq's is 256.
DEEPEST = 200
#: How many values of one payload are converted one by one, and for how long (seconds).
MOST, PATIENCE_S = 1_000_000, 5.0

#: Types that JSON has. Some texts and large numbers still need a conversion.
_SCALARS = frozenset({str, int, bool, type(None)})
#: Types that `msgspec` writes as one text or number.
_LEAVES = frozenset({dt.datetime, dt.date, dt.time, dt.timedelta, *text_values.LEAVES})
_ATOMS = _SCALARS | _LEAVES | {float}
_LISTS = frozenset({list, tuple})
_CONTAINERS = _LISTS | {dict}
_SETS = (set, frozenset)

_encoder = msgspec.json.Encoder()


class TooMuchError(Exception):
    """A value has too many parts, or takes too long to convert."""


def is_faithful(value: Any, *, has_null: bool) -> bool:
    """Return whether `msgspec`'s JSON of a value loses nothing and is not nested too deep.

    `msgspec` turns NaN into null (pass in `has_null` whether the JSON contains one), merges the
    keys `1` and `"1"`, and writes a set in arbitrary order.
    """
    children: list[Any] = [value]
    try:
        # Check each level as a whole: a loop over each of a thousand rows takes ten times as long.
        for _ in range(DEEPEST + 1):
            kinds = set(map(type, children))
            if has_null and float in kinds and not all(map(_is_finite, children)):
                return False
            if not (kinds := kinds - _ATOMS):
                return True
            if not kinds <= _CONTAINERS:
                return False
            objects = [one for one in children if type(one) is dict] if dict in kinds else []
            lists = [one for one in children if type(one) in _LISTS] if kinds & _LISTS else []
            "".join(chain.from_iterable(objects))  # the fastest check that all keys are text
            children = [*chain.from_iterable(map(dict.values, objects))]
            children += chain.from_iterable(lists)
    except TypeError:
        pass  # a key is not text
    return False


def _is_finite(value: Any) -> bool:
    return type(value) is not float or value - value == 0


def has_text_keys(value: dict[Any, Any]) -> bool:
    """Return whether all keys are text, in the fastest way."""
    try:
        "".join(value)
    except TypeError:
        return False
    return True


def _has_known_zone(value: Any) -> bool:
    """Return whether a time's zone is of a standard class. A user's class may raise."""
    zone = getattr(value, "tzinfo", None)
    return zone is None or type(zone) in (dt.timezone, zoneinfo.ZoneInfo)


def to_plain(value: Any) -> Any:
    """Convert a value to plain data that `msgspec` encodes.

    A part that cannot be converted becomes its `repr`, instead of an error.
    """
    try:
        return _Converter().convert(value)
    except TooMuchError:
        return to_repr(value)


def has_conversion(kind: type) -> bool:
    """Return whether values of a type become JSON of their own, and not just their `repr`."""
    is_json = kind in _ATOMS or issubclass(kind, dict | list | tuple)
    return is_json or _find_conversion(kind) is not None


def to_repr(value: Any) -> dict[str, str]:
    """Return the object for a value that has no JSON: `{"$repr": …, "$type": …}`."""
    return {"$repr": text_values.repr_of(value), "$type": text_values.name_of(type(value))}


class _Converter:
    """Converts one payload. The limits on size and time apply to all its parts together."""

    def __init__(self) -> None:
        self._left = MOST
        self._end = time.monotonic() + PATIENCE_S
        #: The ids of the values being converted. A value that is met again contains itself.
        self._ancestors: set[int] = set()
        #: Whether UTF-8 bytes become text, as in pydantic's JSON.
        self._bytes_are_text = False

    def convert(self, value: Any, depth: int = 0) -> Any:
        """Return a value as plain data."""
        kind = type(value)
        if kind is str:
            return text_values.escape_surrogates(value)
        if kind is bool or value is None or (kind in _LEAVES and _has_known_zone(value)):
            return value
        if kind is int:
            return text_values.int_or_text(value)
        if kind is float:
            return text_values.float_or_name(value)
        self._count_value()
        if depth >= DEEPEST or id(value) in self._ancestors:
            return to_repr(value)
        self._ancestors.add(id(value))
        try:
            return self._convert_by_type(value, kind, depth)
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - the user's code may raise anything
            return to_repr(value)
        finally:
            self._ancestors.discard(id(value))

    def _count_value(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuchError
        if not self._left & 255:
            self._check_deadline()

    def _check_deadline(self) -> None:
        if time.monotonic() > self._end:
            raise TooMuchError

    def _convert_by_type(self, value: Any, kind: type, depth: int) -> Any:
        if issubclass(kind, dict):
            return self._object(dict.items(value), kind, depth)
        if issubclass(kind, list | tuple):
            return self._list(value, depth)
        convert: _Convert | None = _find_conversion(kind)  # type: ignore[arg-type]  # types are hashable
        return to_repr(value) if convert is None else convert(self, value, depth)

    def _list(self, values: Iterable[Any], depth: int) -> Any:
        """Return a list. If it only has scalars, encode it at once: that is 100 times faster.

        Reads it with the built-in iterators, because a subclass's own may never end.
        """
        if isinstance(values, list):
            values = list.__iter__(values)
        elif isinstance(values, tuple):
            values = tuple.__iter__(values)
        found = values if type(values) is list else list(self._bounded(values))
        kinds = set(map(type, found))
        if kinds <= _SCALARS | {float}:
            if float in kinds:
                found = [
                    text_values.float_or_name(each) if type(each) is float else each
                    for each in found
                ]
            try:
                return msgspec.Raw(_encoder.encode(found))
            except (UnicodeEncodeError, ValueError):
                pass  # half a surrogate pair, or a number with too many digits
        return [self.convert(each, depth + 1) for each in found]

    def _bounded(self, values: Iterable[Any]) -> Iterator[Any]:
        if isinstance(values, _BUILT_IN_ITERATORS):
            yield from values
            return
        for each in values:
            self._count_value()
            yield each

    def _object(self, items: Iterable[tuple[Any, Any]], kind: type, depth: int) -> Any:
        """Return an object, or a list of pairs if two keys have the same name as JSON."""
        pairs = list(self._bounded(items))
        found = {self._key(key, depth): self.convert(value, depth + 1) for key, value in pairs}
        if len(found) == len(pairs):
            return found
        listed = [[self.convert(part, depth + 2) for part in pair] for pair in pairs]
        return {"$pairs": listed, "$type": text_values.name_of(kind)}

    def _key(self, key: Any, depth: int) -> str:
        """Return a key's name: its text, or its JSON if it is not text."""
        if type(key) is str:
            return text_values.escape_surrogates(key)
        found = self.convert(key, depth + 1)
        if isinstance(found, dict) and "$repr" in found:
            return str(found["$repr"])
        written = _encoder.encode(found)
        name = msgspec.json.decode(written) if written[:1] == b'"' else written.decode()
        return str(name)

    # Conversions by type: see `_find_conversion`.

    def _model(self, value: Any, depth: int) -> Any:
        """Convert a pydantic model by its own rules, and by ours only if those fail."""
        self._check_deadline()
        try:
            dumped = value.model_dump(mode="json")
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - the user's serializers, or bytes
            return self._model_by_field(value, depth)
        return to_repr(value) if dumped is value else self.convert(dumped, depth + 1)

    def _model_by_field(self, value: Any, depth: int) -> Any:
        kind = type(value)
        names = [*kind.model_fields, *kind.model_computed_fields, *(value.model_extra or ())]
        before, self._bytes_are_text = self._bytes_are_text, True
        try:
            if getattr(kind, "__pydantic_root_model__", False):
                return self.convert(value.root, depth + 1)
            return {name: self._field(value, name, depth) for name in names}
        finally:
            self._bytes_are_text = before

    def _field(self, model: Any, name: str, depth: int) -> Any:
        try:
            return self.convert(model.model_dump(mode="json", include={name})[name], depth + 1)
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - as above
            return self.convert(getattr(model, name), depth + 1)

    def _payload(self, value: Any, depth: int) -> Any:
        self._check_deadline()
        payload = value.to_payload()
        return to_repr(value) if payload is value else self.convert(payload, depth + 1)

    def _fields(self, value: Any, depth: int) -> Any:
        names = text_values.fields_of(type(value)) or ()
        pairs = [(name, getattr(value, name)) for name in names]
        return self._object(pairs, type(value), depth)

    def _struct(self, value: Any, depth: int) -> Any:
        kind = type(value)
        config = kind.__struct_config__
        values = [getattr(value, name) for name in kind.__struct_fields__]
        tag = [] if config.tag is None else [(config.tag_field, config.tag)]
        if config.array_like:
            return self._list([*(each for _, each in tag), *values], depth)
        names = kind.__struct_encode_fields__
        return self._object([*tag, *zip(names, values, strict=True)], kind, depth)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        return self._object(((key, value[key]) for key in value), type(value), depth)

    def _set(self, value: Any, depth: int) -> Any:
        """Convert a set to a sorted list, so that equal sets have the same JSON."""
        found = [*value] if type(value) in _SETS else [*self._bounded(value)]
        try:
            found.sort()
        except Exception:  # noqa: BLE001 - the user's comparison may raise anything
            found.sort(key=text_values.repr_of)
        return self._list(found, depth)

    def _names(self, value: types.SimpleNamespace, depth: int) -> Any:
        return self._object(vars(value).items(), type(value), depth)

    def _iterated(self, value: Iterable[Any], depth: int) -> Any:
        return self._list(iter(value), depth)

    def _range(self, value: range, depth: int) -> Any:
        return to_repr(value) if len(value) > MOST else self._list([*value], depth)

    def _bytes(self, value: Any, depth: int) -> Any:
        data = bytes(value)
        if self._bytes_are_text:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        return data

    def _enum(self, value: enum.Enum, depth: int) -> Any:
        return self.convert(value._value_, depth + 1)

    def _text(self, value: Any, depth: int) -> Any:
        return text_values.escape_surrogates(text_values.text_of(value))

    def _number(self, value: Any, depth: int) -> Any:
        return self.convert(text_values.number_of(value), depth)

    def _library(self, read: Callable[[Any], Any], value: Any, depth: int) -> Any:
        data = read(value)
        if isinstance(data, libraries.Labelled):
            return self._object(data.pairs, type(value), depth)
        return to_repr(value) if data is value else self.convert(data, depth)


_BUILT_IN_ITERATORS = tuple(type(iter(each)) for each in ([0], (0,), {0: 0}.items()))

_Convert = Callable[[_Converter, Any, int], Any]


@functools.lru_cache(maxsize=512)
def _find_conversion(kind: type) -> _Convert | None:
    """Return the conversion of a type, or None if its values become their `repr`."""
    if (read := libraries.reader(kind)) is not None:
        return lambda converter, value, depth: converter._library(read, value, depth)
    for name, convert in (("to_payload", _Converter._payload), ("model_dump", _Converter._model)):
        # Look at the classes' own attributes: a metaclass or `__getattr__` may answer anything.
        if any(callable(vars(each).get(name)) for each in kind.__mro__):
            return convert
    if issubclass(kind, msgspec.Struct):
        return _Converter._struct
    if text_values.fields_of(kind) is not None:
        return _Converter._fields
    table: list[tuple[Any, _Convert]] = [
        (enum.Enum, _Converter._enum),
        (bytes | bytearray | memoryview, _Converter._bytes),
        (int | float | dt.timedelta, _Converter._number),
        (text_values.TEXTUAL, _Converter._text),
        (range, _Converter._range),
        (_SETS, _Converter._set),
        (types.SimpleNamespace, _Converter._names),
        (Mapping, _Converter._mapping),
        ((MappingView, Sequence, *text_values.SEQUENCES), _Converter._iterated),
        (AbstractSet, _Converter._set),
    ]
    return next((convert for known, convert in table if issubclass(kind, known)), None)
