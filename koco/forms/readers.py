"""Readers: functions that turn text or JSON into a typed value.

Each takes any value and returns the typed one, or raises `ValueError` with a
message about the allowed values and the given one. Reading the result again, or
its JSON, returns the same: inputs are checked at the endpoint and again in the
runner.
"""

import datetime as dt
import json
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from koco.errors import GLOBAL_FIELD
from koco.forms import json_value_count, patterns

Reader = Callable[[object], Any]
T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: The pattern of a time of day.
CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
#: The pattern of a day.
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATE = re.compile(DAY)
_TIME = re.compile(CLOCK)
_DATETIME = re.compile(rf"{DAY}[T ]{CLOCK}")
#: The most digits of a number, more than the largest float has. `int` never gets longer text.
_MAX_DIGITS = 400
#: The longest text that is read as a number (characters).
_MAX_NUMBER = 1_000
#: The most values of JSON in a text, because nothing has counted them before.
_MAX_VALUES = 50_000
#: How much of a refused value a message shows (characters).
_SHOWN = 40

_TRUE = {"true", "on", "1", "yes"}
_FALSE = {"false", "off", "0", "no"}


def show(raw: object) -> str:
    """Return a value for a message: JSON-like and short."""
    if isinstance(raw, dict | list | tuple) or raw is None or isinstance(raw, bool):
        return kind(raw)
    text = repr(raw) if isinstance(raw, str | int | float) else str(raw)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def kind(raw: object) -> str:
    """Return the kind of a value, in the words of JSON and YAML."""
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
    """Return the value as it is, because its element reads it."""
    return raw


def json_schema(raw: object) -> dict[str, Any]:
    """Read a JSON Schema. Unknown keywords are not enforced."""
    found = json_value(raw)
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON Schema, got {kind(raw)}")
    return found


def text(raw: object) -> str:
    """Read text. Numbers do not become text, because `007` and `7` would be the same."""
    if not isinstance(raw, str):
        raise ValueError(f"must be text, got {kind(raw)}")
    return raw


def name(raw: object) -> str:
    """Read a field's name: text, not empty, and not `_global_`, which has another meaning."""
    found = text(raw)
    if not found or found != found.strip() or found == GLOBAL_FIELD:
        raise ValueError(f"must be a name, got {show(found)}")
    return found


def pattern(raw: object) -> str:
    """Read a regular expression that can be matched in limited time."""
    return patterns.check(text(raw))


def boolean(raw: object) -> bool:
    """Read a property that is true or false, as in YAML and JSON."""
    if not isinstance(raw, bool):
        raise ValueError(f"must be true or false, got {show(raw)}")
    return raw


def checkbox(raw: object) -> bool:
    """Read a checkbox: true or false, or the spellings of browsers and terminals."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE or raw == "":
        return False
    raise ValueError(f"must be true or false, got {show(raw)}")


def number(raw: object) -> int | float:
    """Read a finite number. Text without a fraction or an exponent becomes an int."""
    value = _parse_number(raw.strip()) if isinstance(raw, str) else raw
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, got {show(raw)}")
    # Also refuses NaN, because every comparison with it is false.
    if not abs(value) <= sys.float_info.max:
        raise ValueError("must be a finite number")
    return value


def _parse_number(typed: str) -> int | float | None:
    if len(typed) > _MAX_NUMBER:
        return None
    if _INTEGER.fullmatch(typed) and len(typed) <= _MAX_DIGITS:
        return int(typed)
    return float(typed) if _DECIMAL.fullmatch(typed) else None


def count(raw: object) -> int:
    """Read a property that is a count: a whole number, 0 or more."""
    value = number(raw)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"must be a whole number, 0 or more, got {show(raw)}")
    return value


def step(raw: object) -> int | float:
    """Read a step: a number above 0."""
    value = number(raw)
    if value <= 0:
        raise ValueError(f"must be above 0, got {show(raw)}")
    return value


def step_or_any(raw: object) -> int | float | str:
    """Read a number's step. `any` means a float without a step."""
    return "any" if raw == "any" else step(raw)


def seconds(raw: object) -> int | float:
    """Read a step of time, from a millisecond to a thousand years."""
    value = step(raw)
    if not 0.001 <= value <= 32e9:
        raise ValueError(f"must be a number of seconds, 0.001 or more, got {show(raw)}")
    return value


def date(raw: object) -> dt.date:
    """Read `YYYY-MM-DD`."""
    if isinstance(raw, dt.date) and not isinstance(raw, dt.datetime):
        return raw
    return _parse_iso(raw, _DATE, dt.date.fromisoformat, "a date like 2026-01-31")


def time(raw: object) -> dt.time:
    """Read `HH:MM` or `HH:MM:SS`, with or without a fraction, and no zone."""
    if isinstance(raw, dt.time) and raw.tzinfo is None:
        return raw
    # In YAML 1.1, an unquoted 10:30 is a number to base 60.
    quote = " (in YAML, quote it)" if isinstance(raw, int) else ""
    return _parse_iso(raw, _TIME, dt.time.fromisoformat, f"a time like 09:30{quote}")


def datetime(raw: object) -> dt.datetime:
    """Read `YYYY-MM-DDTHH:MM`, with or without seconds, and no zone."""
    if isinstance(raw, dt.datetime) and raw.tzinfo is None:
        return raw
    wanted = "a date and time like 2026-01-31T09:30, without a zone"
    return _parse_iso(raw, _DATETIME, dt.datetime.fromisoformat, wanted)


def _parse_iso(raw: object, form: re.Pattern[str], parse: Callable[[str], T], wanted: str) -> T:
    typed = raw.strip() if isinstance(raw, str) else ""
    try:
        # Match the pattern first, because fromisoformat takes week dates and zones since 3.11.
        if form.fullmatch(typed):
            return parse(typed)
    except ValueError:
        pass  # 31 February has the right form but is not a date
    raise ValueError(f"must be {wanted}, got {show(raw)}")


def json_value(raw: object) -> Any:
    """Read any JSON value. Decodes text that is JSON; other text stays as it is.

    Decodes repeatedly until the result is not JSON text, so that a second reading
    changes nothing: quoted text loses its quotes, and quoted `"3"` becomes 3.
    """
    value = raw
    while isinstance(value, str):
        has_values = value.lstrip()[:1] in ("[", "{")
        if has_values and json_value_count.has_more(value.encode(errors="replace"), _MAX_VALUES):
            raise ValueError(
                f"must be JSON of at most {_MAX_VALUES} values if it is sent as text;"
                " send more values as JSON, without quotes around it"
            )
        try:
            value = _decode(value)
        except ValueError as exc:
            if has_values:
                raise ValueError(f"must be JSON: {exc}") from None
            return value
    return _copy_json(value) if value is raw else value


def _copy_json(value: object) -> Any:
    try:
        return _decode(json.dumps(value, allow_nan=False))
    except TypeError:
        raise ValueError(f"must be a JSON value, got {show(value)}") from None
    except RecursionError:
        raise ValueError("must be a JSON value that is not nested too deep") from None


def _decode(typed: str) -> Any:
    try:
        return json.loads(
            typed, parse_constant=_refuse_constant, parse_float=number, object_pairs_hook=_to_dict
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's pairs as a dict; raise `ValueError` if a key occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                break
            seen.add(name)
        raise ValueError(f"the key {show(name)} is given twice")
    return found


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
