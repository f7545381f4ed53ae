"""Forms as MIP-003 describes inputs: its attachment 01."""

import html as entities
import json
import re
from collections.abc import Iterator
from typing import Any

from koco.forms import Checkbox, InputFiles, InputPassword, Model, Select
from koco.forms.elements.base import HTML, DisplayInfo, Element, Markdown, to_json
from koco.forms.elements.choices import InputJSON, InputOption
from koco.forms.elements.fields import Field
from koco.forms.elements.numbers import InputRange, Number
from koco.forms.elements.texts import InputHidden

#: A field of an input schema.
Described = dict[str, Any]

#: MIP-003's types of our elements that have another type there. All others are called the same.
_TYPES = {"select": "option", "json": "textarea"}
#: What the properties with the least and the greatest length or value are called: `min_…`, `max_…`.
_LIMITS = ("length", "value", "date", "time", "datetime", "month", "week")
#: MIP-003's formats of texts.
_FORMATS = {"email": "email", "url": "url", "tel": "tel-pattern"}
#: The name of a text that is only shown and has no name.
_INFORMATION = "Information"
_TAG = re.compile(r"<[^>]*>")


def describe(form: Model | None, *, prefix: str = "") -> list[Described]:
    """Return the fields of a form. A form that takes any object has none.

    `prefix` precedes each id, because ids are unique over all groups of a schema.
    """
    if form is None:
        return []
    taken = {*form.field_names, *form.actions}
    found = [*_describe_elements(form, taken), *_describe_actions(form)]
    return [{**each, "id": f"{prefix}{each['id']}"} for each in found]


def labels_of(field: Select) -> dict[str, str]:
    """Return the value of each label of a choice's options."""
    options = (each for each in field.option if isinstance(each, InputOption))
    return {each.label: each.name for each in options if each.label}


def _describe_elements(form: Model, taken: set[str]) -> Iterator[Described]:
    for element in form.elements:
        if isinstance(element, Field):
            yield _describe_field(element)
        elif text := _text_of(element):
            name = getattr(element, "label", None) or _INFORMATION
            yield {
                "id": _free("info", taken),
                "type": "none",
                "name": name,
                "data": {"description": text},
                # Some clients ask for a value of every field that is not optional.
                "validations": [{"validation": "optional", "value": "true"}],
            }


def _text_of(element: Element) -> str:
    """Return the text that an element shows; none for lines, spaces and buttons."""
    if isinstance(element, Markdown | DisplayInfo):
        return element.text.strip()
    if isinstance(element, HTML):
        return entities.unescape(_TAG.sub("", element.text)).strip()
    return ""


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, and take it: `info`, `info_1`, …"""
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _describe_field(field: Field) -> Described:
    found: Described = {
        "id": field.name,
        "type": _TYPES.get(field.type, field.type),
        "name": field.label or field.name,
    }
    found["data"] = _data(field)
    found["validations"] = _validations(field)
    return {name: value for name, value in found.items() if value not in ({}, [])}


def _data(field: Field) -> dict[str, Any]:
    data = {"description": _description(field), "placeholder": getattr(field, "placeholder", None)}
    if isinstance(field, InputHidden):
        return {"value": field.value}
    if isinstance(field, Select):
        data["values"] = field.names
    if isinstance(field, InputFiles):
        data["outputFormat"] = "url"
    if isinstance(field, InputRange):
        low, high = field.limits
        limits = {"min": low, "max": high, "step": field.step}
        data |= {name: None if each is None else str(each) for name, each in limits.items()}
    if field.default is not None and not isinstance(field, InputPassword | InputFiles):
        data["default"] = _default(field)
    return {name: value for name, value in data.items() if value is not None}


def _default(field: Field) -> Any:
    value = to_json(field.default)
    if isinstance(field, InputRange):
        return str(value)  # as its limits, in the attachment's example
    if isinstance(field, InputJSON) and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, indent=2)
    return value


def _description(field: Field) -> str | None:
    """Return what a person should know of a field, where MIP-003 has no other place for it."""
    if isinstance(field, Checkbox):
        return field.option
    if isinstance(field, InputJSON):
        return "JSON"
    if isinstance(field, Select):
        labels = [f"{name}: {label}" for label, name in labels_of(field).items() if label != name]
        return "; ".join(labels) or None
    return None


def _validations(field: Field) -> list[dict[str, str]]:
    found = [*_limits(field)]
    if (kind := _FORMATS.get(field.type)) is not None:
        found.append(("format", kind))
    elif isinstance(field, Number) and field.is_whole:
        found.append(("format", "integer"))
    elif field.is_required and hasattr(field, "max_length"):
        found.append(("format", "nonempty"))
    if not field.is_required or field.default is not None:
        found.append(("optional", "true"))
    return [{"validation": name, "value": value} for name, value in found]


def _limits(field: Field) -> Iterator[tuple[str, str]]:
    """Yield the smallest and the greatest length, value or number of choices."""
    if isinstance(field, Select) or (isinstance(field, InputFiles) and not field.is_list):
        yield from (("min", "1"), ("max", "1"))
        return
    for name in _LIMITS:
        low, high = getattr(field, f"min_{name}", None), getattr(field, f"max_{name}", None)
        if name == "time" and low and high and low > high:
            continue  # across midnight, which has no form there
        for kind, limit in (("min", low), ("max", high)):
            if limit is not None:
                yield kind, str(to_json(limit))


def _describe_actions(form: Model) -> Iterator[Described]:
    """Yield a choice for the buttons of each name. One is required if nothing else sends a form."""
    is_required = len(form.actions) == 1 and not any(e.type == "submit" for e in form.elements)
    for name, values in form.actions.items():
        limits = [("min", "1"), ("max", "1"), *([] if is_required else [("optional", "true")])]
        yield {
            "id": name,
            "type": "option",
            "name": name,
            "data": {"values": values},
            "validations": [{"validation": kind, "value": value} for kind, value in limits],
        }
