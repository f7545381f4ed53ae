"""Values as a browser sends a form: text only. Flows that were written for Kodosumi get these."""

from collections.abc import Mapping
from typing import Any

from koco.errors import InputsError
from koco.forms.elements.base import Action, Submit, to_json
from koco.forms.elements.choices import Checkbox, InputFiles, InputRadio, Select
from koco.forms.elements.fields import Field
from koco.forms.elements.numbers import InputRange
from koco.forms.elements.texts import InputColor, InputHidden
from koco.forms.model import Model


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
    """Return the input that an empty field becomes: empty text, or none for a choice."""
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


def complete(form: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given`, and the values that a browser sends for fields that nobody touches.

    A form without a submit button is sent by its only action. `given` may have other names, too.

    Raises:
        InputsError: a required field has no value, so that a browser does not send the form.
    """
    found, missing = dict(given), InputsError()
    for element in form.elements:
        if isinstance(element, InputHidden):
            found.setdefault(element.name, element.value)
        elif isinstance(element, Field) and element.name not in found:
            value = offered(element)
            if element.is_required and value is None:
                missing.add(**{element.name: "is required"})
            elif value is None:
                found |= blank(element)
            else:
                found |= to_input(element, value, value)
    if missing.errors:
        raise missing
    buttons = [each for each in form.elements if isinstance(each, Action | Submit)]
    if len(buttons) == 1 and isinstance(buttons[0], Action):
        found.setdefault(buttons[0].name, buttons[0].value)
    return found
