"""The canonical text of values, with the examples of RFC 8785."""

from typing import Any

import pytest

from koco.control.payments import canonical_json
from koco.errors import UsageError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (0.002, "0.002"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (4.35, "4.35"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (1.23e22, "1.23e+22"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (333333333.33333329, "333333333.3333333"),
        (9007199254740992, "9007199254740992"),
        (9007199254740993, "9007199254740992"),
        (10**21, "1e+21"),
    ],
)
def test_numbers_are_written_as_ecmascript_does(value: float, text: str) -> None:
    """A number is the shortest text that is read as the same double, without a fraction of 0."""
    assert canonical_json.encode(value).decode() == text


def test_names_are_sorted_by_utf_16() -> None:
    """A name of two surrogates is before one that has a higher single code unit."""
    given = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    shown = canonical_json.encode(given).decode()
    assert shown == '{"\\r":2,"1":4,"\x80":6,"\xf6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'


def test_only_what_must_be_escaped_is() -> None:
    """Quotes, backslashes and control characters are, other characters are not."""
    given: dict[str, Any] = {"b": [None, True, False], "a": '\u20ac$\x0f\nA\'B"\\\\"/'}
    shown = canonical_json.encode(given).decode()
    assert shown == '{"a":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/","b":[null,true,false]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "\ud800"])
def test_refuses_values_without_a_text(value: Any) -> None:
    """Neither infinite numbers nor halves of surrogate pairs have a text in JSON."""
    with pytest.raises(UsageError):
        canonical_json.encode({"a": value})
