"""Translate Kodosumi's elements into koco's own, for `koco run` and `GET /v1/flows`.

Kodosumi accepts any value for any property, koco's forms check each. So a property that koco
refuses is left out, because a form that can be shown is better than none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from koco.errors import GLOBAL_FIELD
from koco.forms import TYPES, FormError, Model
from koco.forms.model import normalize_name

#: Elements that need no property.
_BARE = frozenset({"break", "hr", "errors"})

#: The properties that hold text, and those that are true or false. In a `Checkbox`, `value` is
#: true or false.
_TEXTS = frozenset({"name", "label", "text", "placeholder", "value", "option", "pattern"})
_FLAGS = frozenset({"required", "multiple", "directory"})


def to_list(elements: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the elements of a valid koco form.

    Every later element with an earlier one's name is left out, except that buttons may share a
    name. Patterns are left out if they are too large together.
    """
    found: list[dict[str, Any]] = []
    named: dict[str, str] = {}
    for element in filter(None, map(_translate, elements)):
        kind = element["type"]
        if "name" in element:
            first = named.setdefault(normalize_name(element["name"]), kind)
            if first != kind or (kind != "action" and _is_named(found, element["name"])):
                continue
        found.append(element)
    return _affordable(found)


def _is_named(elements: Iterable[Mapping[str, Any]], name: str) -> bool:
    wanted = normalize_name(name)
    return any(normalize_name(each.get("name", "")) == wanted for each in elements)


def _translate(element: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one element in koco's form; None if it cannot be shown."""
    kind = str(element.get("type"))
    if kind in _BARE:
        return {"type": kind}
    properties = {
        name: _tidy(kind, name, value)
        for name, value in element.items()
        if name not in ("type", "error") and value is not None
    }
    if "name" in element and properties.get("name", GLOBAL_FIELD) == GLOBAL_FIELD:
        return None
    if kind in ("action", "hidden"):
        properties.setdefault("value", "")
    for each in (kind, "text"):
        if each in TYPES and (found := _fit(each, properties)):
            return found
    return None


def _tidy(kind: str, name: str, value: Any) -> Any:
    """Return a property's value in the type that koco's element has for it."""
    if name in _FLAGS or (kind == "boolean" and name == "value"):
        return bool(value)
    if name == "option" and kind != "boolean":
        return _tidy_options(value)
    return str(value) if name in _TEXTS else value


def _tidy_options(options: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a choice's options as name and label. Each name occurs once."""
    found: dict[str, dict[str, str]] = {}
    for each in options:
        shown = {key: str(each[key]) for key in ("name", "label") if each.get(key) is not None}
        if "name" in shown:
            found.setdefault(shown["name"], shown)
    return list(found.values())


def _fit(kind: str, properties: dict[str, Any]) -> dict[str, Any] | None:
    """Return an element without the properties that koco refuses; None if it refuses too much."""
    while True:
        try:
            TYPES[kind].from_dict(properties)
        except FormError as exc:
            refused = {each.property for each in exc.problems} & properties.keys()
            if not refused:
                return None
            properties = {key: properties[key] for key in properties if key not in refused}
        else:
            return {"type": kind, **properties}


def _affordable(elements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        Model.from_list(elements)
    except FormError:
        return [{key: each[key] for key in each if key != "pattern"} for each in elements]
    return elements
