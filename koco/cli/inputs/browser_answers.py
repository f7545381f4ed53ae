"""Answers as a browser sends them: text only. Flows that were written for Kodosumi get these."""

from typing import Any

from koco.forms import (
    Checkbox,
    Field,
    InputColor,
    InputFiles,
    InputRadio,
    InputRange,
    Select,
)
from koco.forms.elements import to_json


def offered(field: Field) -> Any:
    """Return the value that a browser sends if nobody touches the field; None if it sends none."""
    if field.default is not None:
        return to_json(field.default)
    if isinstance(field, InputRange):
        low, high = (float(each or 0) for each in field.limits)
        return f"{(low + high) / 2:g}"
    if isinstance(field, InputColor):
        return "#000000"
    if isinstance(field, Select) and not isinstance(field, InputRadio):
        return field.names[0]
    return None


def blank(field: Field) -> dict[str, Any]:
    """Return the input that an empty field becomes: empty text, or none for what is chosen."""
    is_chosen = isinstance(field, Checkbox | InputRadio | InputFiles)
    return {} if is_chosen else {field.name: ""}


def to_input(field: Field, typed: Any, value: Any) -> dict[str, Any]:
    """Return the input that an answer becomes.

    `typed` is the answer as it was typed, `value` is the typed value that the field made of it. A
    checked box is `on`; one that is not checked is left out.
    """
    if isinstance(field, Checkbox):
        return {field.name: "on"} if value else {}
    if isinstance(field, InputFiles):
        return {field.name: value}
    return {field.name: typed if isinstance(typed, str) else str(typed)}
