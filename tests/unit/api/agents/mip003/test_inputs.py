"""Inputs as MIP-003's clients send them."""

from typing import Any

import pytest

from koco.api.agents.mip003 import inputs
from koco.forms import Model

FORM = Model.from_list(
    [
        {"type": "markdown", "text": "Hello"},
        {"type": "text", "name": "who"},
        {"type": "boolean", "name": "loud", "value": True},
        {"type": "select", "name": "tone", "option": [{"name": "k", "label": "Kind"}, "harsh"]},
        {"type": "radio", "name": "count", "option": ["1", "2"]},
        {"type": "file", "name": "one"},
        {"type": "file", "name": "many", "multiple": True},
        {"type": "action", "name": "go", "value": "yes"},
        {"type": "action", "name": "go", "value": "no"},
    ]
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tone": [1]}, {"tone": "harsh"}),
        ({"tone": ["harsh"]}, {"tone": "harsh"}),
        ({"tone": "harsh"}, {"tone": "harsh"}),
        ({"tone": "Kind"}, {"tone": "k"}),
        ({"tone": []}, {}),
        ({"tone": [7]}, {"tone": 7}),
        ({"tone": [0, 1]}, {"tone": ["k", "harsh"]}),
        ({"count": [1]}, {"count": "2"}),
        ({"count": 1}, {"count": 1}),
        ({"go": [1]}, {"go": "no"}),
        ({"one": ["https://a.example/x"]}, {"one": "https://a.example/x"}),
        ({"many": ["https://a.example/x"]}, {"many": ["https://a.example/x"]}),
        ({"who": None, "loud": False}, {"loud": False}),
        ({"who": "", "info": ""}, {"who": ""}),
        ({"nobody": 1}, {"nobody": 1}),
    ],
)
def test_reads_what_clients_send(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Choices may be given by place, value or label; texts that are only shown are no inputs."""
    assert inputs.read(FORM, given) == expected


def test_other_names_are_left_out_if_wanted() -> None:
    """Kodosumi ignores names that a form does not have."""
    assert inputs.read(FORM, {"who": "Ada", "nobody": 1}, is_strict=False) == {"who": "Ada"}


def test_a_flow_that_takes_any_object_gets_all() -> None:
    """There is no form to compare with."""
    assert inputs.read(None, {"a": None, "b": [1]}) == {"a": None, "b": [1]}


def test_makes_texts_as_browsers_send_them() -> None:
    """A checked box is `on`, an unchecked one is missing, and numbers are texts."""
    given = {"who": 3, "loud": True, "many": ["a"]}
    assert inputs.to_texts(FORM, given) == {"who": "3", "loud": "on", "many": ["a"]}
    assert inputs.to_texts(FORM, {"loud": False}) == {}
