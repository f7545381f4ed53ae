"""Forms as Kodosumi's clients read them: every property is present, if only as null."""

from collections.abc import Iterable
from typing import Any

_FIELD: dict[str, Any] = {"name": None, "label": None, "value": None, "required": False}
_TEXT = {**_FIELD, "placeholder": None, "size": None, "pattern": None}
_TEXT_WITH_LENGTHS = {**_TEXT, "min_length": None, "max_length": None}
_NUMBER = {"min_value": None, "max_value": None, "step": None}

#: The properties of each type of element and their values if they are not set.
_PROPERTIES: dict[str, dict[str, Any]] = {
    "html": {"text": None},
    "markdown": {"text": ""},
    "break": {"text": '<div class="space"></div>'},
    "hr": {"text": '<hr class="medium"/>'},
    "errors": {},
    "text": _TEXT,
    "number": {**_TEXT, **_NUMBER},
    "password": _TEXT_WITH_LENGTHS,
    "email": _TEXT_WITH_LENGTHS,
    "url": _TEXT_WITH_LENGTHS,
    "tel": _TEXT_WITH_LENGTHS,
    "search": _TEXT_WITH_LENGTHS,
    "date": {**_FIELD, "placeholder": None, "min_date": None, "max_date": None},
    "time": {**_FIELD, "placeholder": None, "min_time": None, "max_time": None, "step": None},
    "datetime-local": {
        **_FIELD,
        "placeholder": None,
        "min_datetime": None,
        "max_datetime": None,
        "step": None,
    },
    "textarea": {**_FIELD, "placeholder": None, "rows": None, "cols": None, "max_length": None},
    "boolean": {"name": None, "label": None, "value": False, "option": None},
    "select": {"name": None, "label": None, "value": None, "option": [], "error": None},
    "radio": {**_FIELD, "option": []},
    "month": {**_FIELD, "min_month": None, "max_month": None},
    "week": {**_FIELD, "min_week": None, "max_week": None},
    "color": _FIELD,
    "range": {**_FIELD, **_NUMBER},
    "hidden": {"name": None, "value": None},
    "none": {"text": None, "label": None},
    "file": {**_FIELD, "multiple": False, "directory": False},
    "submit": {"text": "Submit"},
    "cancel": {"text": "Cancel"},
    "action": {"name": None, "value": None, "text": None},
}
_OPTION: dict[str, Any] = {"type": "option", "name": None, "label": None, "value": False}


def translate(form: Iterable[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return a form's elements in Kodosumi's shape. A flow without a form has none."""
    return [_translate(each) for each in form or ()]


def _translate(element: dict[str, Any]) -> dict[str, Any]:
    kind = str(element.get("type", ""))
    known = _PROPERTIES.get(kind)
    if known is None:
        return dict(element)  # a type that only koco has, such as `json`
    found = {"type": kind, **{name: element.get(name, known[name]) for name in known}}
    if "option" in known and kind != "boolean":
        found["option"] = [_translate_option(each) for each in found["option"] or ()]
    return found


def _translate_option(option: Any) -> dict[str, Any]:
    given = option if isinstance(option, dict) else {"name": option}
    return {name: given.get(name, value) for name, value in _OPTION.items()}
