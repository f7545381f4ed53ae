"""Forms as MIP-003 describes inputs."""

from typing import Any

import pytest

from koco.api.agents.mip003 import fields
from koco.forms import Model


def described(*elements: dict[str, Any]) -> list[dict[str, Any]]:
    return fields.describe(Model.from_list(list(elements)))


def rules(field: dict[str, Any]) -> dict[str, str]:
    return {each["validation"]: each["value"] for each in field.get("validations", [])}


#: An element, and what it becomes.
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "text", "name": "who", "label": "Who", "required": True, "max_length": 9},
        {
            "id": "who",
            "type": "text",
            "name": "Who",
            "validations": [
                {"validation": "max", "value": "9"},
                {"validation": "format", "value": "nonempty"},
            ],
        },
    ),
    (
        {"type": "number", "name": "n", "value": 2, "step": 1, "min_value": 1, "max_value": 5},
        {
            "id": "n",
            "type": "number",
            "name": "n",
            "data": {"default": 2},
            "validations": [
                {"validation": "min", "value": "1"},
                {"validation": "max", "value": "5"},
                {"validation": "format", "value": "integer"},
                {"validation": "optional", "value": "true"},
            ],
        },
    ),
    (
        {"type": "boolean", "name": "loud", "option": "Shout"},
        {
            "id": "loud",
            "type": "boolean",
            "name": "loud",
            "data": {"description": "Shout", "default": False},
            "validations": [{"validation": "optional", "value": "true"}],
        },
    ),
    (
        {
            "type": "select",
            "name": "tone",
            "required": True,
            "option": [{"name": "k", "label": "Kind"}, {"name": "harsh"}],
        },
        {
            "id": "tone",
            "type": "option",
            "name": "tone",
            "data": {"description": "k: Kind", "values": ["k", "harsh"]},
            "validations": [
                {"validation": "min", "value": "1"},
                {"validation": "max", "value": "1"},
            ],
        },
    ),
    (
        {"type": "range", "name": "r", "min_value": 1, "max_value": 9, "step": 2, "value": 3},
        {
            "id": "r",
            "type": "range",
            "name": "r",
            "data": {"min": "1", "max": "9", "step": "2", "default": "3"},
            "validations": [
                {"validation": "min", "value": "1"},
                {"validation": "max", "value": "9"},
                {"validation": "format", "value": "integer"},
                {"validation": "optional", "value": "true"},
            ],
        },
    ),
    (
        {"type": "file", "name": "f", "required": True},
        {
            "id": "f",
            "type": "file",
            "name": "f",
            "data": {"outputFormat": "url"},
            "validations": [
                {"validation": "min", "value": "1"},
                {"validation": "max", "value": "1"},
            ],
        },
    ),
    (
        {"type": "json", "name": "j", "value": {"a": 1}},
        {
            "id": "j",
            "type": "textarea",
            "name": "j",
            "data": {"description": "JSON", "default": '{\n  "a": 1\n}'},
            "validations": [{"validation": "optional", "value": "true"}],
        },
    ),
    (
        {"type": "hidden", "name": "h", "value": "abc"},
        {
            "id": "h",
            "type": "hidden",
            "name": "h",
            "data": {"value": "abc"},
            "validations": [{"validation": "optional", "value": "true"}],
        },
    ),
    (
        {"type": "markdown", "text": "# Hello"},
        {
            **{"id": "info", "type": "none", "name": "Information"},
            "data": {"description": "# Hello"},
            "validations": [{"validation": "optional", "value": "true"}],
        },
    ),
    (
        {"type": "html", "text": "<p>a &amp; b</p>"},
        {
            **{"id": "info", "type": "none", "name": "Information"},
            "data": {"description": "a & b"},
            "validations": [{"validation": "optional", "value": "true"}],
        },
    ),
    (
        {"type": "action", "name": "go", "value": "yes"},
        {
            "id": "go",
            "type": "option",
            "name": "go",
            "data": {"values": ["yes"]},
            "validations": [
                {"validation": "min", "value": "1"},
                {"validation": "max", "value": "1"},
            ],
        },
    ),
]


@pytest.mark.parametrize(("element", "field"), CASES, ids=lambda each: str(each.get("type")))
def test_describes_each_element(element: dict[str, Any], field: dict[str, Any]) -> None:
    """An element becomes a field with its label, its default and its limits."""
    assert described(element) == [field]


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("date", {"min_date": "2026-01-02"}, {"min": "2026-01-02"}),
        ("time", {"min_time": "09:00", "max_time": "17:00"}, {"min": "09:00", "max": "17:00"}),
        ("time", {"min_time": "22:00", "max_time": "06:00"}, {}),
        ("datetime-local", {"max_datetime": "2026-01-02T03:04"}, {"max": "2026-01-02T03:04"}),
        ("month", {"min_month": "2026-01"}, {"min": "2026-01"}),
        ("week", {"max_week": "2026-W01"}, {"max": "2026-W01"}),
        ("email", {}, {"format": "email"}),
        ("url", {}, {"format": "url"}),
        ("tel", {}, {"format": "tel-pattern"}),
        ("color", {}, {}),
        ("search", {"min_length": 3}, {"min": "3"}),
        ("password", {"min_length": 3}, {"min": "3"}),
        ("textarea", {"max_length": 3}, {"max": "3"}),
    ],
)
def test_keeps_limits_and_formats(kind: str, more: dict[str, Any], expected: Any) -> None:
    """Limits are texts under `min` and `max`, unless MIP-003 cannot say them."""
    field = described({"type": kind, "name": "x", **more})[0]
    assert field["type"] == kind
    assert rules(field) == {**expected, "optional": "true"}


def test_lines_spaces_and_buttons_are_left_out() -> None:
    """What neither asks nor tells anything is no field."""
    assert (
        described({"type": "hr"}, {"type": "break"}, {"type": "submit"}, {"type": "errors"}) == []
    )


def test_ids_of_texts_differ_from_all_others() -> None:
    """Texts have no name, so each gets one that no field has."""
    found = described(
        {"type": "markdown", "text": "a"},
        {"type": "text", "name": "info"},
        {"type": "none", "text": "b", "label": "B"},
    )
    assert [(each["id"], each["name"]) for each in found] == [
        ("info_1", "Information"),
        ("info", "info"),
        ("info_2", "B"),
    ]


def test_a_prefix_precedes_each_id() -> None:
    """So several forms can be asked in one schema."""
    form = Model.from_list([{"type": "text", "name": "a"}, {"type": "markdown", "text": "b"}])
    assert [each["id"] for each in fields.describe(form, prefix="l:")] == ["l:a", "l:info"]


def test_a_flow_that_takes_any_object_has_no_fields() -> None:
    """It has no form."""
    assert fields.describe(None) == []


def test_the_default_of_a_password_is_not_told() -> None:
    """Neither its value nor its placeholder's stands for it."""
    assert "data" not in described({"type": "password", "name": "p", "value": "geheim"})[0]
