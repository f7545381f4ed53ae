"""The values that a browser sends for a form."""

from typing import Any

import pytest

from koco.errors import InputsError
from koco.forms import Model, browser

FORM: list[dict[str, Any]] = [
    {"type": "text", "name": "topic", "value": "A Du Du Du"},
    {"type": "textarea", "name": "more"},
    {"type": "number", "name": "count", "value": 3},
    {"type": "boolean", "name": "quick", "value": True},
    {"type": "boolean", "name": "loud"},
    {"type": "select", "name": "size", "option": ["s", "m"]},
    {"type": "hidden", "name": "origin", "value": "web"},
    {"type": "file", "name": "papers"},
]
UNTOUCHED = {
    **{"topic": "A Du Du Du", "more": "", "count": "3", "quick": "on", "size": "s"},
    **{"origin": "web"},
}


def complete(*form: dict[str, Any], **given: Any) -> dict[str, Any]:
    return browser.complete(Model.from_list(list(form)), given)


def test_fields_that_nobody_touches_are_sent() -> None:
    """Their values as text, empty text for none, and nothing for what is not chosen."""
    assert complete(*FORM) == UNTOUCHED


def test_given_values_are_kept() -> None:
    """Empty ones, which turn a checkbox off, and those of no field, too."""
    given = {"topic": "", "quick": "", "count": 7, "other": [1]}
    assert complete(*FORM, **given) == UNTOUCHED | given


@pytest.mark.parametrize("kind", ["text", "file", "number"])
def test_a_required_field_needs_a_value(kind: str) -> None:
    """A browser does not send the form without one."""
    field = {"type": kind, "name": "x", "required": True}
    with pytest.raises(InputsError) as raised:
        complete(field)
    assert raised.value.errors == {"x": ["is required"]}
    assert complete(field, x="1") == {"x": "1"}


def test_the_only_button_is_pressed() -> None:
    """If there are several, or one that submits, none of them is."""
    first, second = ({"type": "action", "name": "do", "value": each} for each in "ab")
    assert complete(first) == {"do": "a"}
    assert complete(first, do="b") == {"do": "b"}
    assert complete(first, second) == {}
    assert complete(first, {"type": "submit", "text": "Go"}) == {}
