"""Counting the values of JSON before it is decoded."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koco.forms.json_value_count import has_more

TEXTS = st.text('a,[]{}:"\\\n\u2028', max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, list) else 1


@given(VALUES, st.integers(1, 60))
def test_counts_values_and_ignores_texts(value: Any, most: int) -> None:
    """Commas, brackets and quotes within texts and names do not count."""
    text = json.dumps(value, ensure_ascii=False).encode()
    # An empty list or object counts for one more.
    empty = sum(1 for each in _all(value) if each in ([], {}))
    assert has_more(text, most) in {count(value) > most, count(value) + empty > most}


def _all(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(each for one in inner for each in _all(one))]


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (b'{"x":[%b1]}' % (b"1," * 4_000_000), True),
        (b'{"x":[%b[]]}' % (b"[]," * 2_000_000), True),
        (b'{"x":[%b""]}' % (b'"",' * 2_000_000), True),
        (b'{"x":"%b"}' % (b"," * 8_000_000), False),
        (b'{"x":"%b"}' % (b'\\",' * 2_000_000), False),
        (b'{"x":"%b"}' % (b"\\\\" * 4_000_000), False),
        (b"[" * 8_000_000, True),
        (b'"' * 8_000_001, False),
    ],
)
def test_counting_is_quick(text: bytes, more: bool) -> None:
    """Eight megabytes of any text take a fraction of the time of decoding them."""
    began = time.thread_time()
    assert has_more(text, 200_000) is more
    assert time.thread_time() - began < 1
