"""Readers: what was typed, or sent as JSON, as a typed value.

Each takes anything and returns the value, or raises `ValueError` with a message
that says what is allowed and what was got. Reading what a reader returned, or
its JSON, returns the same again: inputs are checked at the endpoint and once
more in the runner.
"""

import datetime as dt
import json
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from koco.errors import GLOBAL_FIELD
from koco.forms import patterns, value_count

Reader = Callable[[object], Any]
T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: A time of day, as a pattern.
CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
#: A day, as a pattern.
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATE = re.compile(DAY)
_TIME = re.compile(CLOCK)
_DATETIME = re.compile(rf"{DAY}[T ]{CLOCK}")
#: More digits than the largest float has: refused before `int` sees them.
_MAX_DIGITS = 400
#: The longest text that is a number: what is longer is not looked at.
_MAX_NUMBER = 1_000
#: How many values JSON may have that comes as a text: there nobody has counted them yet.
_MAX_VALUES = 50_000
#: How much of a refused value a message shows.
_SHOWN = 40

_TRUE = {"true", "on", "1", "yes"}
_FALSE = {"false", "off", "0", "no"}


def shown(raw: object) -> str:
    """Return a value as a message shows it: JSON-like and short."""
    if isinstance(raw, dict | list | tuple) or raw is None or isinstance(raw, bool):
        return kind(raw)
    text = repr(raw) if isinstance(raw, str | int | float) else str(raw)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def kind(raw: object) -> str:
    """Return what a value is, in words that someone who writes JSON or YAML knows."""
    if raw is None:
        return "nothing"
    if isinstance(raw, bool):
        return "true" if raw else "false"
    names: list[tuple[Any, str]] = [
        (str, "text"),
        (int | float, "a number"),
        (dt.datetime, "a date and time"),
        (dt.date, "a date"),
        (dt.time, "a time"),
        (list | tuple, "a list"),
        (dict, "an object"),
    ]
    return next((name for cls, name in names if isinstance(raw, cls)), type(raw).__name__)


def anything(raw: object) -> Any:
    """Return the value as it is: its element reads it."""
    return raw


def json_schema(raw: object) -> dict[str, Any]:
    """Read a JSON Schema; what it says that is not known is not enforced."""
    found = jsonable(raw)
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON Schema, got {kind(raw)}")
    return found


def text(raw: object) -> str:
    """Read text: nothing else becomes text, for `007` and `7` would be the same."""
    if not isinstance(raw, str):
        raise ValueError(f"must be text, got {kind(raw)}")
    return raw


def name(raw: object) -> str:
    """Read a field's name: text, not empty, and not the one kept for errors of no field."""
    found = text(raw)
    if not found or found != found.strip() or found == GLOBAL_FIELD:
        raise ValueError(f"must be a name, got {shown(found)}")
    return found


def pattern(raw: object) -> str:
    """Read a regular expression that can be matched in a time that has a limit."""
    return patterns.check(text(raw))


def boolean(raw: object) -> bool:
    """Read a property's true or false, as YAML and JSON have it."""
    if not isinstance(raw, bool):
        raise ValueError(f"must be true or false, got {shown(raw)}")
    return raw


def checked(raw: object) -> bool:
    """Read a checkbox: true or false, or how browsers and terminals spell them."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE or raw == "":
        return False
    raise ValueError(f"must be true or false, got {shown(raw)}")


def number(raw: object) -> int | float:
    """Read a finite number; text without a fraction or an exponent is an int."""
    value = _digits(raw.strip()) if isinstance(raw, str) else raw
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, got {shown(raw)}")
    # Also false for NaN, which no comparison holds for.
    if not abs(value) <= sys.float_info.max:
        raise ValueError("must be a finite number")
    return value


def _digits(typed: str) -> int | float | None:
    if len(typed) > _MAX_NUMBER:
        return None
    if _INTEGER.fullmatch(typed) and len(typed) <= _MAX_DIGITS:
        return int(typed)
    return float(typed) if _DECIMAL.fullmatch(typed) else None


def count(raw: object) -> int:
    """Read a property that counts: a whole number, 0 or more."""
    value = number(raw)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"must be a whole number, 0 or more, got {shown(raw)}")
    return value


def step(raw: object) -> int | float:
    """Read a step: a number above 0."""
    value = number(raw)
    if value <= 0:
        raise ValueError(f"must be above 0, got {shown(raw)}")
    return value


def step_or_any(raw: object) -> int | float | str:
    """Read a number's step, which may be `any`: a float without one."""
    return "any" if raw == "any" else step(raw)


def seconds(raw: object) -> int | float:
    """Read a step of time, from a millisecond to a thousand years."""
    value = step(raw)
    if not 0.001 <= value <= 32e9:
        raise ValueError(f"must be a number of seconds, 0.001 or more, got {shown(raw)}")
    return value


def date(raw: object) -> dt.date:
    """Read `YYYY-MM-DD`."""
    if isinstance(raw, dt.date) and not isinstance(raw, dt.datetime):
        return raw
    return _iso(raw, _DATE, dt.date.fromisoformat, "a date like 2026-01-31")


def time(raw: object) -> dt.time:
    """Read `HH:MM`, `HH:MM:SS` or that with a fraction; no zone."""
    if isinstance(raw, dt.time) and raw.tzinfo is None:
        return raw
    # An unquoted 10:30 in YAML is a number to base 60: say what will help.
    quote = " (in YAML, quote it)" if isinstance(raw, int) else ""
    return _iso(raw, _TIME, dt.time.fromisoformat, f"a time like 09:30{quote}")


def datetime(raw: object) -> dt.datetime:
    """Read `YYYY-MM-DDTHH:MM`, with seconds or not; a local time has no zone."""
    if isinstance(raw, dt.datetime) and raw.tzinfo is None:
        return raw
    wanted = "a date and time like 2026-01-31T09:30, without a zone"
    return _iso(raw, _DATETIME, dt.datetime.fromisoformat, wanted)


def _iso(raw: object, form: re.Pattern[str], parse: Callable[[str], T], wanted: str) -> T:
    typed = raw.strip() if isinstance(raw, str) else ""
    try:
        # The pattern first: since 3.11 fromisoformat takes week dates and zones too.
        if form.fullmatch(typed):
            return parse(typed)
    except ValueError:
        pass  # the 31st of February has the form, and is no date
    raise ValueError(f"must be {wanted}, got {shown(raw)}")


def jsonable(raw: object) -> Any:
    """Read any JSON value; text that is JSON is decoded, other text stays as it is.

    Decoding goes on until nothing is left to decode, so that a second reading
    changes nothing: quoted text loses its quotes, and quoted `"3"` is 3.
    """
    value = raw
    while isinstance(value, str):
        has_values = value.lstrip()[:1] in ("[", "{")
        if has_values and value_count.has_more(value.encode(errors="replace"), _MAX_VALUES):
            raise ValueError(
                f"must be JSON of at most {_MAX_VALUES} values where it is a text;"
                " send what has more as JSON, without quotes around it"
            )
        try:
            value = _decode(value)
        except ValueError as exc:
            if has_values:
                raise ValueError(f"must be JSON: {exc}") from None
            return value
    return _copied(value) if value is raw else value


def _copied(value: object) -> Any:
    try:
        return _decode(json.dumps(value, allow_nan=False))
    except TypeError:
        raise ValueError(f"must be a JSON value, got {shown(value)}") from None
    except RecursionError:
        raise ValueError("must be a JSON value that is not nested too deep") from None


def _decode(typed: str) -> Any:
    try:
        return json.loads(
            typed, parse_constant=_refuse, parse_float=number, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                break
            seen.add(name)
        raise ValueError(f"the key {shown(name)} is given twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
