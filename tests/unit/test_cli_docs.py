"""Every command, option and exit code is in the docs, and the docs name no others."""

import re
from pathlib import Path
from typing import Any

import pytest

from koco import errors
from koco.cli import main

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (DOCS / "commands.md").read_text("utf-8")
EXIT_CODES = (DOCS / "exit-codes.md").read_text("utf-8")

GROUP = main.build()


def section(name: str) -> str:
    """Return what the docs say about a command (or, for "", about `koco` itself)."""
    title = f"## koco {name}".rstrip()
    found = re.search(rf"^{title}$(.*?)(?=^## |\Z)", COMMANDS, re.DOTALL | re.MULTILINE)
    assert found, f"docs/commands.md has no section {title!r}"
    return found[1]


def options(command: Any) -> set[str]:
    """Return all spellings of a command's options, but those of its help."""
    return {name for p in command.params if p.param_type_name == "option" for name in p.opts}


def in_tables(text: str) -> set[str]:
    """Return the options that the first cells of a section's tables name."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", cell)}


def kinds() -> list[type[errors.KocoError]]:
    """Return all errors."""
    found, todo = [], [errors.KocoError]
    while todo:
        found.append(todo.pop())
        todo += found[-1].__subclasses__()
    return [kind for kind in found if kind.__module__ == "koco.errors"]


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_option_is_documented_and_no_other(name: str) -> None:
    """In the table of the command's section, all spellings."""
    assert in_tables(section(name)) == options(GROUP.get_command(None, name))


def test_the_global_options_are_documented() -> None:
    """Help among them: it is said once, for all."""
    assert in_tables(section("")) == options(GROUP) | {"--help", "-h"}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_has_an_example_in_docs_and_help(name: str) -> None:
    """Help ends with one; the docs show one that begins with the command."""
    assert f"$ koco {name}" in section(name)
    last = (GROUP.get_command(None, name).help or "").strip().splitlines()[-1]
    assert last.strip().startswith(f"Example: koco {name}")


def test_no_section_is_about_a_command_that_is_not_there() -> None:
    """Docs outlive commands easily."""
    assert re.findall(r"^## koco (\S+)$", COMMANDS, re.MULTILINE) == list(main.COMMANDS)


def test_each_exit_code_is_in_the_table_with_its_names() -> None:
    """A code for each error of `koco.errors`, and none that nothing exits with."""
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|", EXIT_CODES, re.MULTILINE))
    for kind in kinds():
        assert f"`{kind.code}`" in rows.get(str(kind.exit_code), ""), kind
    known = {0, main.PIPE_CLOSED, *(kind.exit_code for kind in kinds())}
    assert {int(code) for code in rows} == known
