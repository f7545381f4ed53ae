"""Answers to the form of a flow that was written for Kodosumi: those that a browser sends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.typist import Typist

#: Asks for a form's values as `koco run` does for a flow in Kodosumi's dialect.
PROGRAM = """
import json, sys
from koco.cli.inputs import prompt
form, typed = map(json.loads, sys.argv[1:3])
flow = {"dialect": "kodosumi"}
as_browser = prompt.is_browser_like(flow)
print(json.dumps(prompt.ask(form, {}, typed=typed, as_browser=as_browser)))
"""

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Return a function that types at a form and returns the answers."""

    def answer(form: list[dict[str, Any]], *lines: str, typed: Any = None) -> Any:
        args = ["-c", PROGRAM, json.dumps(form), json.dumps(typed)]
        with Typist(args, stdout=tmp_path / "out") as typist:
            for line in lines:
                typist.types(f"{line}\n")
            assert typist.leaves() == 0, typist.seen
        return json.loads((tmp_path / "out").read_text())

    return answer


@pytest.mark.parametrize(
    ("element", "typed", "answer"),
    [
        ({"type": "number"}, " 3 ", {"x": "3"}),
        ({"type": "number", "placeholder": "30"}, "", {"x": ""}),
        ({"type": "number", "value": "5"}, "", {"x": "5"}),
        ({"type": "date"}, "2026-01-31", {"x": "2026-01-31"}),
        ({"type": "date"}, "", {"x": ""}),
        ({"type": "text"}, "", {"x": ""}),
        ({"type": "password"}, "", {"x": ""}),
        ({"type": "textarea"}, "", {"x": ""}),
        ({"type": "boolean"}, "y", {"x": "on"}),
        ({"type": "boolean", "value": True}, "", {"x": "on"}),
        ({"type": "boolean", "value": True}, "n", {}),
        ({"type": "boolean"}, "", {}),
        ({"type": "select", "option": ["a", "b"]}, "", {"x": "a"}),
        ({"type": "select", "option": ["a", "b"]}, "2", {"x": "b"}),
        ({"type": "radio", "option": ["a", "b"]}, "", {}),
        ({"type": "radio", "option": ["a", "b"], "value": "b"}, "", {"x": "b"}),
        ({"type": "range"}, "", {"x": "50"}),
        ({"type": "range", "min_value": 1, "max_value": 2}, "", {"x": "1.5"}),
        ({"type": "color"}, "", {"x": "#000000"}),
        ({"type": "file"}, "", {}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_answers_are_the_text_that_a_browser_sends(
    ask: Ask, element: dict[str, Any], typed: str, answer: dict[str, Any]
) -> None:
    """Empty text for an empty field, `on` for a checked box, nothing for one that is not."""
    assert ask([{"name": "x", **element}], typed) == answer


def test_a_value_that_a_browser_refuses_is_asked_for_again(ask: Ask) -> None:
    """Browsers check numbers, dates and required fields, so the terminal does as well."""
    form = [{"type": "number", "name": "n", "required": True}]
    assert ask(form, "", "many", "7") == {"n": "7"}


def test_a_refused_value_is_the_default_of_the_next_question(ask: Ask) -> None:
    """Unless it was empty: then Enter means the default of the form."""
    form = [{"type": "text", "name": "a"}, {"type": "text", "name": "b", "value": "c"}]
    assert ask(form, "", "", typed={"a": "before", "b": ""}) == {"a": "before", "b": "c"}


def test_hidden_values_are_sent(ask: Ask) -> None:
    """As a browser does."""
    assert ask([{"type": "hidden", "name": "x", "value": "v"}]) == {"x": "v"}
