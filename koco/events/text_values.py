"""Values that become one text or number in JSON, and the `repr` of other values."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import ipaddress
import os
import pathlib
import re
import reprlib
import sys
import uuid
import zoneinfo
from collections.abc import Iterable
from typing import Any

#: Types that `msgspec` writes as a text, in addition to dates and times.
LEAVES = (uuid.UUID, decimal.Decimal)

_IP = ("Address", "Network", "Interface")
_ADDRESSES = tuple(getattr(ipaddress, f"IPv{n}{suffix}") for n in (4, 6) for suffix in _IP)

#: Types whose values become a text, with their subclasses.
TEXTUAL = (
    str,
    collections.UserString,
    dt.date,
    dt.time,
    dt.tzinfo,
    uuid.UUID,
    decimal.Decimal,
    fractions.Fraction,
    complex,
    pathlib.PurePath,
    os.DirEntry,
    re.Pattern,
    BaseException,
    *_ADDRESSES,
)

#: Ordered types that are not a `Sequence` to Python.
SEQUENCES = (collections.deque, array.array)

#: The longest `repr` that is kept (characters).
REPR_CHARS = 64 * 1024
#: The largest int that is a number in JSON (bits, of 4,299 digits): Python reads no larger one.
NUMBER_BITS = 14_280
#: The largest int that is written in decimal digits (bits), because the time grows faster than the
#: number of digits.
_DECIMAL_BITS = 1_000_000

_short = reprlib.Repr()
_short.maxlevel = 2
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _short.maxfrozenset = 50
_short.maxdeque = _short.maxarray = 50
_short.maxstring = _short.maxlong = _short.maxother = REPR_CHARS


def name_of(kind: type) -> str:
    """Return a type's full name."""
    return escape_surrogates(f"{kind.__module__}.{kind.__qualname__}")


def escape_surrogates(text: str) -> str:
    """Escape halves of surrogate pairs, because they cannot be encoded as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def float_or_name(value: float) -> float | str:
    """Return the float, or the name of NaN or an infinity, which JSON does not have."""
    if value - value == 0:
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def int_or_text(value: int) -> int | str:
    """Return the int, or text if it has more digits than readers take."""
    bits = value.bit_length()
    # The flow may have lowered the limit.
    if bits <= min(NUMBER_BITS, 3 * sys.get_int_max_str_digits() or NUMBER_BITS):
        return value
    if bits > _DECIMAL_BITS:
        return hex(value)
    # Not `str`: its limit is a setting of the whole process.
    with decimal.localcontext(decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX)):
        return format(decimal.Decimal(value), "f")


def number_of(value: Any) -> Any:
    """Return a value of a subclass of int, float or timedelta as that base type."""
    if isinstance(value, dt.timedelta):
        return dt.timedelta(value.days, value.seconds, value.microseconds)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def text_of(value: Any) -> str:
    """Return the text of a value of one of the `TEXTUAL` types."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, BaseException):
        return _error(value)
    if isinstance(value, re.Pattern):
        return value.pattern if isinstance(value.pattern, str) else repr(value.pattern)
    if isinstance(value, complex):
        return str(value).strip("()")
    if isinstance(value, os.DirEntry):
        return os.fsdecode(value.path)
    if isinstance(value, zoneinfo.ZoneInfo):
        return value.key or str(value)
    return str(value)


def _error(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, BaseExceptionGroup):
        text += f": {'; '.join(_error(each) for each in error.exceptions)}"
    return text


def fields_of(kind: type) -> list[str] | None:
    """Return the fields of a dataclass or attrs class as `msgspec` sees them, or None."""
    known = next(
        (
            vars(each)[mark]
            for each in kind.__mro__
            for mark in ("__dataclass_fields__", "__attrs_attrs__")
            if mark in vars(each)
        ),
        None,
    )
    if known is None:
        return None
    found: Iterable[Any] = known.values() if isinstance(known, dict) else known
    real = (each for each in found if getattr(each, "_field_type", None) in (None, _FIELD))
    return [each.name for each in real if not each.name.startswith("_")]


#: The mark that distinguishes a dataclass field from a class variable.
_FIELD = dataclasses.fields(dataclasses.make_dataclass("_Probe", ["x"]))[0]._field_type  # type: ignore[attr-defined]


def repr_of(value: Any) -> str:
    """Return a value's `repr`, shortened. Does not raise, even if the `repr` does."""
    try:
        text = _short.repr(value) if type(value) in _SHORTENED else repr(value)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - a user's `repr` must not fail the flow
        return f"<{name_of(type(value))}: its repr raised {type(exc).__name__}>"
    if len(text) > REPR_CHARS:
        text = f"{text[:REPR_CHARS]}… ({len(text):,} characters)"
    return escape_surrogates(text)


def str_of(exc: BaseException) -> str:
    """Return an exception's message. Does not raise, even if its `str` does."""
    try:
        return str(exc)
    except Exception as failure:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<its str raised {type(failure).__name__}>"


#: Containers of any size, of which only the beginning is shown.
_SHORTENED = frozenset({list, tuple, dict, set, frozenset, collections.deque, array.array})
