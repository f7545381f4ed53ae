"""Inputs as MIP-003's clients send them, as koco's forms take them."""

from collections.abc import Mapping, Sequence
from typing import Any

from koco.api.agents.mip003 import fields
from koco.forms import Checkbox, InputFiles, Model, Select
from koco.forms.elements.fields import Field


def read(form: Model | None, given: Mapping[str, Any], *, is_strict: bool = True) -> dict[str, Any]:
    """Return a client's inputs as the form takes them.

    A choice may be given by its value, by its label, or by its place among the `values`: `[0]` is
    the first one. Inputs without a value are left out, and so are those of texts that are only
    shown. Unless `is_strict`, names that the form does not have are left out as well.
    """
    if form is None:
        return dict(given)
    known = {field.name: field for field in form.fields}
    shown = {each["id"] for each in fields.describe(form) if each["type"] == "none"}
    found = {}
    for name, value in given.items():
        if name in known:
            found[name] = _read_field(known[name], value)
        elif name in form.actions:
            found[name] = _chosen(form.actions[name], {}, value)
        elif is_strict and name not in shown:
            found[name] = value  # the form refuses it, and says which names it has
    return {name: value for name, value in found.items() if value is not None}


def to_texts(form: Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs as texts, for flows in Kodosumi's dialect, which get what browsers send."""
    boxes = {each.name for each in form.fields if isinstance(each, Checkbox)}
    found = {name: _to_text(value, is_box=name in boxes) for name, value in inputs.items()}
    return {name: value for name, value in found.items() if value is not None}


def _to_text(value: Any, *, is_box: bool) -> Any:
    if is_box:
        return "on" if value in (True, 1, "true", "True", "on") else None
    return value if isinstance(value, str | list | dict) else str(value)


def _read_field(field: Field, value: Any) -> Any:
    if isinstance(field, Select):
        return _chosen(field.names, fields.labels_of(field), value)
    if isinstance(field, InputFiles) and isinstance(value, list) and not field.is_list:
        return _only(value)
    return value


def _chosen(values: Sequence[str], labels: Mapping[str, str], given: Any) -> Any:
    """Return the value that a client chose, or None for none. What is no choice stays as it is."""
    if isinstance(given, list):
        places = [each for each in given if isinstance(each, int) and not isinstance(each, bool)]
        if places and len(places) == len(given) and all(0 <= each < len(values) for each in places):
            given = [values[each] for each in places]
        given = None if given == [] else _only(given)
    if isinstance(given, str) and given not in values:
        return labels.get(given, given)
    return given


def _only(given: list[Any]) -> Any:
    """Return the only element of a list, or the list if it has several or none."""
    return given[0] if len(given) == 1 else given
