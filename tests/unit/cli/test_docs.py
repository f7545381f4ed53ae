"""Compare the docs on commands and exit codes with the code."""

import re
from typing import Any

import pytest

from koco import errors
from koco.cli import main
from koco.cli.deploy import plan
from tests.support.checkout import ROOT
from tests.unit.conftest import Cli

DOCS = ROOT / "docs"
COMMANDS = (DOCS / "commands.md").read_text("utf-8")
CODES = (DOCS / "exit-codes.md").read_text("utf-8")


def command(name: str) -> Any:
    """Return a command, or a group's, as typer sees it."""
    found = main.build()
    for word in name.split():
        found = found.get_command(None, word)
    return found


def section(name: str) -> str:
    """Return what the docs say of a command."""
    found = re.search(rf"^## `koco {name}`\n(.*?)(?=^## |\Z)", COMMANDS, re.M | re.S)
    assert found, f"docs/commands.md has no section on {name}"
    return found[1]


def test_the_sections_are_the_commands() -> None:
    """All commands, in the order of `koco --help`, and no others."""
    assert re.findall(r"^## `koco ([^`]+)`$", COMMANDS, re.M) == list(main.COMMANDS)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_option_and_argument_is_documented(name: str) -> None:
    """Long and short names with their values, and no others."""
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", section(name)))
    rows = set(
        re.findall(
            r"(?<![\w-])--?[a-z][a-z-]*", "".join(re.findall(r"^\| .*? \|", section(name), re.M))
        )
    )
    params = command(name).params
    spelt = (opt for param in params for opt in (*param.opts, *param.secondary_opts))
    options = {opt for opt in spelt if opt.startswith("-")}
    options -= {"--help", "-h"}
    assert options <= told, f"not documented: {options - told}"
    assert rows <= options, f"documented, but gone: {rows - options}"
    for param in command(name).params:
        if param.param_type_name == "argument":
            assert f"`{param.metavar}`" in section(name)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_commands_help_ends_with_an_example_that_is_in_the_docs(name: str) -> None:
    """The same one, so that it is looked after once."""
    last = command(name).help.strip().splitlines()[-1]
    assert last.startswith(f"Example: koco {name}")
    assert f"$ {last.removeprefix('Example: ')}\n" in section(name)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_example_is_a_command_line_that_parses(name: str) -> None:
    """No option in an example is made up."""
    lines = re.findall(rf"^\$ (?:.*\| )?koco {name}\b ?([^|>\n]*)", section(name), re.M)
    assert lines
    for line in lines:
        command(name).make_context(name, [*line.split()], resilient_parsing=False)


def test_every_exit_code_is_documented_once() -> None:
    """Those of the errors, success, and the shell's word for a closed pipe."""
    kinds = [errors.KocoError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {0, plan.CHANGES, main.PIPE_CLOSED, *(kind.exit_code for kind in kinds)}
    rows = [int(code) for code in re.findall(r"^\| (\d+) \|", CODES, re.M)]
    assert rows == sorted(codes)


def test_every_command_has_help(cli: Cli) -> None:
    """`koco X --help` exits with 0 and shows how it is used."""
    for name in main.COMMANDS:
        ran = cli(*name.split(), "--help")
        assert ran.code == 0
        assert ran.out.startswith(f"Usage: koco {name}")


@pytest.mark.parametrize("name", main.GROUPS)
def test_the_help_of_a_group_lists_its_commands(cli: Cli, name: str) -> None:
    """With the help of each; the example uses one of them."""
    ran = cli(name, "--help")
    assert ran.code == 0
    ours = [each.removeprefix(f"{name} ") for each in main.COMMANDS if each.startswith(f"{name} ")]
    assert ours
    assert all(re.search(rf"^  {each} +[A-Z]", ran.out, re.M) for each in ours)
    assert re.search(rf"Example: koco {name} ({'|'.join(ours)}) ", ran.out)
