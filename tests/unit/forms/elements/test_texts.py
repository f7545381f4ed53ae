"""Fields of text in a format, sliders, months and weeks: the accepted values and the messages."""

import time

import pytest

from koco import forms as F  # noqa: N812
from tests.unit.forms.test_model import message, read, refused

EMAIL, URL, TEL = F.InputEmail("x"), F.InputUrl("x"), F.InputTel("x")
MONTH, WEEK, COLOR = F.InputMonth("x"), F.InputWeek("x"), F.InputColor("x")


@pytest.mark.parametrize(
    ("element", "raw", "wanted"),
    [
        (EMAIL, " ada@example.org ", "ada@example.org"),
        (EMAIL, "a.b+c@sub.example.org", "a.b+c@sub.example.org"),
        (URL, "https://example.org", "https://example.org"),
        (URL, "s3://bucket/key?x=1#y", "s3://bucket/key?x=1#y"),
        (URL, "http://[::1]:8080/", "http://[::1]:8080/"),
        (TEL, "+49 (30) 12 34-56", "+49 (30) 12 34-56"),
        (TEL, "112", "112"),
        (MONTH, "2026-12", "2026-12"),
        (WEEK, "2026-W53", "2026-W53"),
        (COLOR, "#FF88aa", "#ff88aa"),
        (F.InputSearch("x"), " night ", " night "),
        (F.InputHidden("x", "v"), "changed", "changed"),
        (F.InputRange("x"), "99.5", 99.5),
        (F.InputRange("x", step=1), "99", 99),
        (F.InputRadio("x", option=["a", "b"]), "b", "b"),
    ],
)
def test_values_in_the_format_are_accepted(element: F.Field, raw: str, wanted: object) -> None:
    """Blanks around them are removed, except from a search and a hidden text."""
    assert read(element, raw) == wanted
    assert read(element, wanted) == wanted


@pytest.mark.parametrize(
    ("element", "raw", "like"),
    [
        (EMAIL, "ada", "an e-mail address like ada@example.org"),
        (EMAIL, "ada@", "an e-mail address"),
        (EMAIL, "a b@example.org", "an e-mail address"),
        (EMAIL, "ada@-example.org", "an e-mail address"),
        (EMAIL, "a" * 250 + "@example.org", "an e-mail address"),
        (EMAIL, 3, "an e-mail address"),
        (URL, "example.org", "a URL like https://example.com/page"),
        (URL, "javascript:alert(1)", "a URL"),
        (URL, "https://", "a URL"),
        (URL, "https://a b", "a URL"),
        (URL, "https://example.org:port", "a URL"),
        (URL, "https://example.org:99999", "a URL"),
        (URL, "https://[::1", "a URL"),
        (TEL, "call me", "a telephone number like +49 30 123456"),
        (TEL, "0" * 65, "a telephone number"),
        (TEL, 112, "a telephone number"),
        (MONTH, "2026-13", "a month like 2026-01"),
        (MONTH, "0000-01", "a month"),
        (MONTH, "2026-1", "a month"),
        (WEEK, "2025-W53", "a week like 2026-W05"),
        (WEEK, "2026-W00", "a week"),
        (WEEK, "0000-W01", "a week"),
        (COLOR, "red", "a colour like #ff8800"),
        (COLOR, "#ff880", "a colour"),
        (F.InputRange("x"), "many", "a number"),
        (F.InputHidden("x", "v"), 3, "text"),
    ],
)
def test_other_values_are_refused_with_an_example(element: F.Field, raw: object, like: str) -> None:
    """The message shows a value that would be accepted."""
    assert message(element, raw).startswith(f"must be {like}")


def test_limits_are_enforced() -> None:
    """Of lengths, patterns, months, weeks and sliders."""
    assert message(F.InputEmail("x", max_length=9), "ada@example.org").startswith("must have at")
    assert "pattern" in message(F.InputUrl("x", pattern="https://.*"), "http://example.org")
    months = F.InputMonth("x", min_month="2026-02", max_month="2026-03")
    assert message(months, "2026-01") == "must be 2026-02 or later, got 2026-01"
    weeks = F.InputWeek("x", max_week="2026-W10")
    assert message(weeks, "2026-W11") == "must be 2026-W10 or earlier, got 2026-W11"
    assert message(F.InputRange("x"), 101) == "must be at most 100, got 101"
    assert message(F.InputRange("x", min_value=1, step=2), 4).startswith("must be 1 plus")
    assert message(F.InputRadio("x", option=["a"]), "b") == "must be one of a, got 'b'"


def test_a_slider_always_has_limits() -> None:
    """None means HTML's own: 0 and 100."""
    element = F.InputRange("x", min_value=None, max_value=None)
    assert element == F.InputRange("x")
    assert F.Model(element).json_schema()["properties"]["x"]["maximum"] == 100


def test_a_hidden_field_keeps_its_value_unless_another_is_sent() -> None:
    """Its value must be given in the form."""
    assert F.Model(F.InputHidden("x", "v")).validate({}) == {"x": "v"}
    with pytest.raises(F.FormError, match="value: is missing"):
        F.Model.from_list([{"type": "hidden", "name": "x"}])


def test_defaults_are_checked() -> None:
    """A form with a default that its own field refuses is invalid."""
    for kind in ("email", "url", "tel", "month", "week", "color", "range"):
        with pytest.raises(F.FormError, match="value: must be a"):
            F.Model.from_list([{"type": kind, "name": "x", "value": "?"}])


def test_schemas_have_the_format() -> None:
    """Agents see which texts are accepted."""
    schema = F.Model(EMAIL, F.InputUrl("u"), F.InputMonth("m"), F.InputColor("c")).json_schema()
    found = schema["properties"]
    assert (found["x"]["format"], found["u"]["format"]) == ("email", "uri")
    assert found["m"]["pattern"].startswith("^[0-9]{4}-") and found["c"]["pattern"][:2] == "^#"


def test_long_texts_are_refused_quickly() -> None:
    """No format takes long to check, and no message is long."""
    began = time.thread_time()
    for element in (EMAIL, URL, TEL, MONTH, WEEK, COLOR):
        for text in ("a" * 1_000_000, "a@" + "a-" * 500_000, "https://" + "a" * 1_000_000):
            assert len(refused(F.Model(element), {"x": text})["x"][0]) < 200
    assert time.thread_time() - began < 1
