"""Command lines that are read without typer: whatever is read is what typer would read."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koco.cli import command_line, typer_commands
from koco.cli.main import COMMANDS

#: Values that a parser may stumble over, and some that suit.
WORDS = ["x", "", "-", "5", "0", "-1", "1.5", "1e3", "nan", " 7", "1_000", "x=y", "a b", "ü", "--"]


def of(name: str) -> Callable[..., Any]:
    """Return a command's function."""
    command: Callable[..., Any]
    command = importlib.import_module(f"koco.cli.commands.{name.replace(' ', '.')}").command
    return command


def by_typer(name: str, args: list[str]) -> dict[str, Any]:
    """Return the values that typer would call a command with."""
    function, seen = of(name), dict[str, Any]()

    def record(**values: Any) -> None:
        seen.update(values)

    record.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    command = typer_commands.adapt(record, name)
    with command.make_context(name, list(args)) as ctx:
        command.invoke(ctx)
    return seen


def defaults(name: str) -> dict[str, Any]:
    parameters = inspect.signature(of(name)).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def words_of(name: str) -> list[str]:
    """Return words from which lines of a command are made: its options in all forms, and values."""
    found = ["--nope", "-h"]
    for each in typer_commands.adapt(of(name), name).params:
        if each.param_type_name == "option":
            for option in (*each.opts, *each.secondary_opts):
                found += [option, option, f"{option}=5", f"{option}5", f"{option}="]
    return found + WORDS


@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_read_is_what_typer_reads(name: str, data: Any) -> None:
    """The same values for any line that is not left to typer."""
    args = data.draw(st.lists(st.sampled_from(words_of(name)), max_size=5))
    line = command_line.read([*name.split(), *args], COMMANDS)
    if line is not None:
        found = {**defaults(name), **line.values}
        # As text, because NaN is not equal to itself, and True is to 1.
        assert repr(sorted(found.items())) == repr(sorted(by_typer(name, args).items()))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("ps", {}),
        ("ps -a --json --limit 7", {"everything": True, "as_json": True, "limit": 7}),
        ("ps --status=error --status x", {"status": ["error", "x"]}),
        ("logs -f x y", {"fids": ["x", "y"], "follow": True}),
        ("logs -n 3 - --kind a -- -x", {"fids": ["-", "-x"], "tail": 3, "kinds": ["a"]}),
        ("show x", {"fid": "x"}),
        ("wait x --timeout 1.5", {"fids": ["x"], "timeout": 1.5}),
        ("key revoke ci", {"name": "ci"}),
        ("run hymn/poem -i topic=rain -f", {"flow": "hymn/poem", "pairs": ["topic=rain"]}),
    ],
)
def test_plain_lines_are_read(line: str, values: dict[str, Any]) -> None:
    """So the test above compares something."""
    found = command_line.read(line.split(), COMMANDS)
    assert found is not None
    assert {key: found.values.get(key) for key in values} == values


@pytest.mark.parametrize(
    "line",
    [
        *("", "nope", "key", "ps --help", "--version", "help ps", "ps --nope", "ps x", "ps -aw"),
        *("key revoke", "ps --limit", "ps --limit x", "ps --limit 0", "ps --json=1"),
        *("--context=x ps", "--env"),
    ],
)
def test_anything_else_is_left_to_typer(line: str) -> None:
    """Help, errors with their hints, and forms that are rare."""
    assert command_line.read(line.split(), COMMANDS) is None


def test_global_options_come_first() -> None:
    """They choose the context and the environment."""
    line = command_line.read(["--context", "c", "--env", "e", "ps"], COMMANDS)
    assert line is not None
    assert (line.context, line.env) == ("c", "e")
    assert command_line.read(["--context", "--env", "ps"], COMMANDS) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_does_not_import_typer(name: str) -> None:
    """Its module is imported for a line that is read without it."""
    source = inspect.getsource(importlib.import_module(of(name).__module__))
    assert "import typer" not in source
