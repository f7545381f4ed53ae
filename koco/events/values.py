"""What any Python value becomes as JSON: plain data for what `msgspec` cannot encode by itself.

Values are the user's: their methods may raise, lie, or go on for ever. So a value is known by
its type alone, never by what an instance answers, and the work for one payload has a limit.
The table in docs/events.md says what becomes of what.
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

from koco.events import libraries, texts

#: Lists and objects within each other. Beyond, readers' own limits begin: jq's is 256.
DEEPEST = 200
#: How many values of one payload are looked at one by one, and for how long (seconds).
MOST, PATIENCE_S = 1_000_000, 5.0

#: What is JSON as it stands; text and large numbers still may not be.
_SCALARS = frozenset({str, int, bool, type(None)})
#: What `msgspec` writes as one text or number.
_LEAVES = frozenset({dt.datetime, dt.date, dt.time, dt.timedelta, *texts.LEAVES})
_ATOMS = _SCALARS | _LEAVES | {float}
_LISTS = frozenset({list, tuple})
_CONTAINERS = _LISTS | {dict}
_SETS = (set, frozenset)

_encoder = msgspec.json.Encoder()


class TooMuchError(Exception):
    """A value has more parts than can be looked at."""


def is_faithful(value: Any, *, has_null: bool) -> bool:
    """Tell whether `msgspec`'s JSON of a value has all that is in it, in a depth readers take.

    It makes null of NaN (so `has_null` says whether to look), one key of `1` and `"1"`, and a
    list of a set in whatever order.
    """
    children: list[Any] = [value]
    try:
        # Level by level, and each at once: a loop over each of a thousand rows takes ten times
        # as long.
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
            "".join(chain.from_iterable(objects))  # the fastest way to learn that keys are text
            children = [*chain.from_iterable(map(dict.values, objects))]
            children += chain.from_iterable(lists)
    except TypeError:
        pass  # a key that is no text
    return False


def _is_finite(value: Any) -> bool:
    return type(value) is not float or value - value == 0


def has_names(value: dict[Any, Any]) -> bool:
    """Tell whether all keys are text, in the fastest way there is."""
    try:
        "".join(value)
    except TypeError:
        return False
    return True


def _is_plain_moment(value: Any) -> bool:
    """Tell whether a time's zone is no code of the user's, which may raise."""
    zone = getattr(value, "tzinfo", None)
    return zone is None or type(zone) in (dt.timezone, zoneinfo.ZoneInfo)


def plain(value: Any) -> Any:
    """Return what stands for a value in JSON: `msgspec` encodes it as it is.

    Raises nothing of its own: what cannot be converted is kept as its `repr`.
    """
    try:
        return _Walk().of(value)
    except TooMuchError:
        return as_repr(value)


def as_repr(value: Any) -> dict[str, str]:
    """Return what stands for a value that has no JSON: `{"$repr": …, "$type": …}`."""
    return {"$repr": texts.repr_of(value), "$type": texts.name_of(type(value))}


class _Walk:
    """Converts one payload; what its parts take counts together."""

    def __init__(self) -> None:
        self._left = MOST
        self._end = time.monotonic() + PATIENCE_S
        #: What is being converted: met once more, it contains itself.
        self._within: set[int] = set()
        #: Whether bytes that are UTF-8 are text, as in pydantic's JSON.
        self._bytes_are_text = False

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return the plain form of a value."""
        kind = type(value)
        if kind is str:
            return texts.sound(value)
        if kind is bool or value is None or (kind in _LEAVES and _is_plain_moment(value)):
            return value
        if kind is int:
            return texts.integer(value)
        if kind is float:
            return texts.finite(value)
        self._count()
        if depth >= DEEPEST or id(value) in self._within:
            return as_repr(value)
        self._within.add(id(value))
        try:
            return self._converted(value, kind, depth)
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - the user's code may raise anything
            return as_repr(value)
        finally:
            self._within.discard(id(value))

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuchError
        if not self._left & 255:
            self._hurry()

    def _hurry(self) -> None:
        if time.monotonic() > self._end:
            raise TooMuchError

    def _converted(self, value: Any, kind: type, depth: int) -> Any:
        if issubclass(kind, dict):
            return self._object(dict.items(value), kind, depth)
        if issubclass(kind, list | tuple):
            return self._list(value, depth)
        how: _Convert | None = _converter(kind)  # type: ignore[arg-type]  # types are hashable
        return as_repr(value) if how is None else how(self, value, depth)

    def _list(self, values: Iterable[Any], depth: int) -> Any:
        """Return a list; one of mere scalars is encoded at once, as that is a hundred times faster.

        Not by the methods of a subclass, which may go on for ever.
        """
        if isinstance(values, list):
            values = list.__iter__(values)
        elif isinstance(values, tuple):
            values = tuple.__iter__(values)
        found = values if type(values) is list else list(self._bounded(values))
        kinds = set(map(type, found))
        if kinds <= _SCALARS | {float}:
            if float in kinds:
                found = [texts.finite(each) if type(each) is float else each for each in found]
            try:
                return msgspec.Raw(_encoder.encode(found))
            except (UnicodeEncodeError, ValueError):
                pass  # half a surrogate pair, or a number of too many digits
        return [self.of(each, depth + 1) for each in found]

    def _bounded(self, values: Iterable[Any]) -> Iterator[Any]:
        if isinstance(values, _BUILT_IN_ITERATORS):
            yield from values
            return
        for each in values:
            self._count()
            yield each

    def _object(self, items: Iterable[tuple[Any, Any]], kind: type, depth: int) -> Any:
        """Return an object; where two keys would have one name, the pairs."""
        pairs = list(self._bounded(items))
        found = {self._key(key, depth): self.of(value, depth + 1) for key, value in pairs}
        if len(found) == len(pairs):
            return found
        listed = [[self.of(part, depth + 2) for part in pair] for pair in pairs]
        return {"$pairs": listed, "$type": texts.name_of(kind)}

    def _key(self, key: Any, depth: int) -> str:
        """Return the name that a key goes by: its text, or its JSON where it has none."""
        if type(key) is str:
            return texts.sound(key)
        found = self.of(key, depth + 1)
        if isinstance(found, dict) and "$repr" in found:
            return str(found["$repr"])
        written = _encoder.encode(found)
        name = msgspec.json.decode(written) if written[:1] == b'"' else written.decode()
        return str(name)

    # what the types below are converted by

    def _model(self, value: Any, depth: int) -> Any:
        """Convert a model of pydantic's: by its own rules, and by ours only what they fail on."""
        self._hurry()
        try:
            dumped = value.model_dump(mode="json")
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - the user's serializers, or bytes
            return self._model_by_field(value, depth)
        return as_repr(value) if dumped is value else self.of(dumped, depth + 1)

    def _model_by_field(self, value: Any, depth: int) -> Any:
        kind = type(value)
        names = [*kind.model_fields, *kind.model_computed_fields, *(value.model_extra or ())]
        before, self._bytes_are_text = self._bytes_are_text, True
        try:
            if getattr(kind, "__pydantic_root_model__", False):
                return self.of(value.root, depth + 1)
            return {name: self._field(value, name, depth) for name in names}
        finally:
            self._bytes_are_text = before

    def _field(self, model: Any, name: str, depth: int) -> Any:
        try:
            return self.of(model.model_dump(mode="json", include={name})[name], depth + 1)
        except TooMuchError:
            raise
        except (Exception, SystemExit):  # noqa: BLE001 - as above
            return self.of(getattr(model, name), depth + 1)

    def _payload(self, value: Any, depth: int) -> Any:
        self._hurry()
        shown = value.to_payload()
        return as_repr(value) if shown is value else self.of(shown, depth + 1)

    def _fields(self, value: Any, depth: int) -> Any:
        names = texts.fields_of(type(value)) or ()
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
        """Convert a set, in order where its parts have one: the same set is the same JSON."""
        found = [*value] if type(value) in _SETS else [*self._bounded(value)]
        try:
            found.sort()
        except Exception:  # noqa: BLE001 - the user's comparison may raise anything
            found.sort(key=texts.repr_of)
        return self._list(found, depth)

    def _names(self, value: types.SimpleNamespace, depth: int) -> Any:
        return self._object(vars(value).items(), type(value), depth)

    def _iterated(self, value: Iterable[Any], depth: int) -> Any:
        return self._list(iter(value), depth)

    def _range(self, value: range, depth: int) -> Any:
        return as_repr(value) if len(value) > MOST else self._list([*value], depth)

    def _bytes(self, value: Any, depth: int) -> Any:
        data = bytes(value)
        if self._bytes_are_text:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        return data

    def _enum(self, value: enum.Enum, depth: int) -> Any:
        return self.of(value._value_, depth + 1)

    def _text(self, value: Any, depth: int) -> Any:
        return texts.sound(texts.text_of(value))

    def _number(self, value: Any, depth: int) -> Any:
        return self.of(texts.number_of(value), depth)

    def _library(self, read: Callable[[Any], Any], value: Any, depth: int) -> Any:
        shown = read(value)
        if isinstance(shown, libraries.Labelled):
            return self._object(shown.pairs, type(value), depth)
        return as_repr(value) if shown is value else self.of(shown, depth)


_BUILT_IN_ITERATORS = tuple(type(iter(each)) for each in ([0], (0,), {0: 0}.items()))

_Convert = Callable[[_Walk, Any, int], Any]


@functools.lru_cache(maxsize=512)
def _converter(kind: type) -> _Convert | None:
    """Return what converts values of a type, or None where only their `repr` is left."""
    if (read := libraries.reader(kind)) is not None:
        return lambda walk, value, depth: walk._library(read, value, depth)
    for name, convert in (("to_payload", _Walk._payload), ("model_dump", _Walk._model)):
        # What a metaclass or `__getattr__` would answer does not count.
        if any(callable(vars(each).get(name)) for each in kind.__mro__):
            return convert
    if issubclass(kind, msgspec.Struct):
        return _Walk._struct
    if texts.fields_of(kind) is not None:
        return _Walk._fields
    table: list[tuple[Any, _Convert]] = [
        (enum.Enum, _Walk._enum),
        (bytes | bytearray | memoryview, _Walk._bytes),
        (int | float | dt.timedelta, _Walk._number),
        (texts.TEXTUAL, _Walk._text),
        (range, _Walk._range),
        (_SETS, _Walk._set),
        (types.SimpleNamespace, _Walk._names),
        (Mapping, _Walk._mapping),
        ((MappingView, Sequence, *texts.SEQUENCES), _Walk._iterated),
        (AbstractSet, _Walk._set),
    ]
    return next((convert for known, convert in table if issubclass(kind, known)), None)
