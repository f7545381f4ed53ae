"""The JSON Schema of inputs that travel as text."""

import jsonschema

from koco import forms as F  # noqa: N812
from koco.forms import text_schema
from tests.unit.forms.test_model import EVERY

FORM = F.Model(
    F.InputText("topic", "Topic", required=True, max_length=3, pattern="[a-z]+"),
    F.InputNumber("count", "Count", 3, min_value=1, max_value=9, step=1),
    F.InputDate("day", min_date="2026-01-01"),
    F.Checkbox("ok", option="I agree", value=True),
    F.Select("size", option=["s", "l"], value="l"),
    F.InputFiles("papers", multiple=True),
    F.Action("act", "go"),
)


def test_every_value_is_text() -> None:
    """Its limits are words, because they advise and nobody enforces them."""
    schema = text_schema.of(FORM)
    assert schema["required"] == ["topic"]
    assert "additionalProperties" not in schema
    assert schema["properties"] == {
        "topic": {"title": "Topic", "type": "string"},
        "count": {
            **{"title": "Count", "type": "string", "default": "3"},
            "description": "a number as text from 1 to 9",
        },
        "day": {"type": "string", "format": "date", "description": "from 2026-01-01"},
        "ok": {"enum": ["on"], "description": "I agree Leave it out for no."},
        "size": {"type": "string", "examples": ["s", "l"], "default": "l"},
        "papers": {"type": ["array", "null"], "items": {"type": "string"}},
        "act": {"enum": ["go"]},
    }


def test_any_element_has_a_valid_schema() -> None:
    """And what a browser sends for the form of every element fits it."""
    schema = text_schema.of(EVERY)
    jsonschema.Draft202012Validator.check_schema(schema)
    sent = {"text": "any", "number": "many", "check": "on", "select": "a", "more": 1}
    jsonschema.validate(sent, schema)
