"""Describe the limits of a form's field in a few words that fit on a line."""

import json
from typing import Any

from koco.cli.terminal import output
from koco.forms import Checkbox, Field, InputFiles, InputJSON, InputPassword, Select
from koco.forms.elements.base import to_json
from koco.forms.elements.fields import exclusive_limit
from koco.forms.elements.numbers import Number

#: The format of values that have one, by the element's type.
_FORMATS = {
    **{"date": "YYYY-MM-DD", "time": "HH:MM", "datetime-local": "YYYY-MM-DDTHH:MM"},
    **{"month": "YYYY-MM", "week": "YYYY-Www", "color": "#rrggbb"},
    **{"email": "e-mail address", "url": "URL", "tel": "telephone number"},
}

#: The pairs of properties that limit a value.
_RANGES = tuple(
    (f"min_{what}", f"max_{what}")
    for what in ("value", "date", "time", "datetime", "month", "week")
)

#: The shown part of a value (characters).
_SHOWN = 40


def kind(field: Field) -> str:
    """Return the format of a value; empty if any text is valid."""
    if isinstance(field, Number):
        return "whole number" if field.is_whole else "number"
    if isinstance(field, InputFiles):
        many = "paths of files" if field.multiple else "path of a file"
        return "path of a folder" if field.directory else many
    words = {InputPassword: "not shown", Checkbox: "y/n", InputJSON: "JSON"}
    return words.get(type(field)) or _FORMATS.get(field.type, "")


def example(field: Field) -> str:
    """Return how a value is written on a command line, where it stands for itself."""
    schema = (field.json_schema or {}) if isinstance(field, InputJSON) else {}
    named = str(schema.get("$ref") or "").rpartition("/")[2]
    what = (schema.get("$defs") or {}).get(named, schema).get("type")
    return {"array": "'[…]'", "object": "'{…}'"}.get(what, "…")


def words(field: Field) -> list[str]:
    """Return the requirements of a value: whether it is required, its type, its limits."""
    found = ["required"] if field.is_required else []
    return found + [each for each in (kind(field), *limits(field)) if each]


def limits(field: Field) -> list[str]:
    """Return the requirements of a value other than its type: range, step, length, pattern."""
    is_number = isinstance(field, Number)
    found = [_between(field, *names) for names in _RANGES]
    if length := _between(field, "min_length", "max_length"):
        found.append(f"{length} characters")
    step = getattr(field, "step", None)
    if isinstance(step, int | float) and not (is_number and step == 1):
        found.append(f"in steps of {step}" if is_number else f"in steps of {step} s")
    if pattern := getattr(field, "pattern", None):
        found.append(f"pattern {pattern}")
    return [each for each in found if each]


def choices(field: Field) -> list[tuple[str, str]]:
    """Return the names that can be chosen, each with its label; empty if it is not a choice."""
    if not isinstance(field, Select):
        return []
    labels = [getattr(each, "label", None) or "" for each in field.option]
    return list(zip(field.names, labels, strict=True))


def format_value(field: Field, value: Any) -> str:
    """Return a field's value as it would be typed, in one short line. A secret is hidden."""
    if value is None:
        return ""
    if isinstance(field, InputPassword):
        return "…"
    if isinstance(field, Checkbox):
        return {True: "y", False: "n"}.get(value, str(value))
    value = to_json(value)
    if isinstance(field, InputFiles):
        value = ", ".join(value) if isinstance(value, list) else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return output.shortened(" ".join(text.split()), _SHOWN)


def _between(field: Field, low: str, high: str) -> str:
    least, most = (getattr(field, name, None) for name in (low, high))
    if least is not None and most is not None:
        if (outer := exclusive_limit(most, 1)) is not None and exclusive_limit(least, -1) is None:
            return f"at least {to_json(least)}, less than {outer}"
        return f"{to_json(least)} to {to_json(most)}"
    if least is not None:
        if (outer := exclusive_limit(least, -1)) is not None:
            return f"greater than {outer}"
        words = "at least" if isinstance(least, int | float) else "from"
        return f"{words} {to_json(least)}"
    if most is not None:
        if (outer := exclusive_limit(most, 1)) is not None:
            return f"less than {outer}"
        words = "at most" if isinstance(most, int | float) else "until"
        return f"{words} {to_json(most)}"
    return ""
