"""An event's line: valid for any payload, numbered and filtered by position."""

import dataclasses
import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco import response
from koco.events import line
from koco.events.model import Kind


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


class Worse:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@dataclasses.dataclass
class Point:
    x: int


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Odd(), {"$repr": "<odd>", "$type": f"{__name__}.Odd"}),
        ([Odd()], [{"$repr": "<odd>", "$type": f"{__name__}.Odd"}]),
        ({("a", 1): 2}, {'["a",1]': 2}),
        ({Odd(): 1}, {"<odd>": 1}),
        ("a \ud800", "a \\ud800"),
        (LOOP, [{"$repr": "[[[...]]]", "$type": "builtins.list"}]),
        (Point(1), {"x": 1}),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (ValueError("bad"), "ValueError: bad"),
        ([response.Markdown("# a", "b")], [{"type": "markdown", "body": "# a b"}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_encodes_any_value_as_json(value: Any, shown: Any) -> None:
    """A value without a JSON form becomes an object with its repr and type."""
    assert json.loads(line.encode_payload(value)) == shown


def test_reports_a_repr_that_raises() -> None:
    """A failing `__repr__` does not fail the flow."""
    assert "RuntimeError" in json.loads(line.encode_payload(Worse()))["$repr"]


def test_truncates_a_payload_that_is_too_large() -> None:
    """Its size, type and beginning are kept. A payload just below the limit stays whole."""
    fits = "ä" * (line.PAYLOAD_BYTES // 2 - 1)
    assert len(line.encode(Kind.RESULT, fits)) > line.PAYLOAD_BYTES
    shown = line.decode(1, line.encode(Kind.RESULT, [fits]))["payload"]
    assert shown["$cut"] == line.PAYLOAD_BYTES + 2
    assert shown["$type"] == "builtins.list"
    assert shown["$start"].startswith('["ää')


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
    max_leaves=20,
)


@given(st.sampled_from(Kind), anything, st.integers(1, 10**12))
def test_a_line_is_one_valid_event(kind: Kind, payload: Any, seq: int) -> None:
    """Any payload gives one line, from which number and kind can be read."""
    text = line.encode(kind, payload)
    assert b"\n" not in text
    assert line.kind_of(text) == kind.encode()
    event = json.loads(line.with_seq(seq, text))
    assert list(event) == ["seq", "ts", "kind", "payload"]
    assert (event["seq"], event["kind"]) == (seq, kind)


@given(st.floats(0, 4_000_000_000))
def test_time_stamps_have_a_fixed_width(now: float) -> None:
    """27 characters of RFC 3339. Filtering by kind relies on it."""
    stamp = line.timestamp(now)
    assert len(stamp) == 27
    parsed = datetime.datetime.fromisoformat(stamp)
    assert abs(parsed.timestamp() - now) < 1e-5
