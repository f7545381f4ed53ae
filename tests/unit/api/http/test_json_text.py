"""JSON in a text: decoded within bounds."""

import time

import pytest

from koco.api.http import json_text
from koco.errors import LimitError


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": [1, null]}', {"a": [1, None]}), ("3", 3), (' "x"', "x"), ('["a,b,[{"]', ["a,b,[{"])],
)
def test_decodes_any_value(text: str, value: object) -> None:
    """Separators within texts do not count."""
    assert json_text.decode(text, most_values=4) == value


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[1,", "NaN", "\ud800", "9e999", "[" * 9000 + "]" * 9000, "a, b, c, [d, e]"],
)
def test_what_is_not_json_is_told_apart(text: str) -> None:
    """Prose may have as many commas as it likes. Also not JSON: nesting that cannot be read."""
    with pytest.raises(ValueError, match=r"."):
        json_text.decode(text, most_values=10_000 if text[:1] == "[" else 1)


@pytest.mark.parametrize(
    "text",
    [
        "[0,0,0,0]",
        " \n{" + '"":0,' * 5 + '"":0}',
        "[" * 500_000,
        "[" + "0," * 7_000_000 + "0]",
        '["' + "x" * (5 << 20) + '"]',
    ],
)
def test_refuses_what_would_take_long(text: str) -> None:
    """At once: nothing is decoded."""
    began = time.monotonic()
    with pytest.raises(LimitError, match="a text that begins like JSON"):
        json_text.decode(text, most_values=4)
    assert time.monotonic() - began < 1


def test_a_type_may_be_demanded() -> None:
    """A value of another one is refused as if it were not JSON."""
    assert json_text.decode("[1]", most_values=9, kind=list[int]) == [1]
    with pytest.raises(ValueError, match="Expected"):
        json_text.decode("[1]", most_values=9, kind=dict[str, int])
