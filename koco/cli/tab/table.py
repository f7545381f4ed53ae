"""The table of all commands and their options, as a Tab needs it.

It is a file (`commands.json`), because a Tab has no time to import typer and a command. It is made
by `python -m tests.support.command_table`, and a test compares it with the commands.
"""

import json
import os
from typing import TypedDict

PATH = os.path.join(os.path.dirname(__file__), "commands.json")  # noqa: PTH118, PTH120 - faster


class Param(TypedDict, total=False):
    """An option or an argument. What does not apply is left out."""

    #: The names of an option; the first is the one that is offered.
    names: list[str]
    help: str
    #: What stands for its value; an option without one takes no value.
    metavar: str
    choices: list[str]
    #: Whether an argument may be repeated.
    many: bool
    #: Whether an option is not offered.
    hidden: bool


class Entry(TypedDict, total=False):
    """A command, or a group of commands."""

    options: list[Param]
    arguments: list[Param]
    #: The commands of a group, with the first lines of their help.
    commands: dict[str, str]


class Table(TypedDict):
    """Everything that may be completed and depends on nothing but koco's version."""

    #: By full name; the empty name is koco itself.
    commands: dict[str, Entry]
    #: The statuses of executions: `open` and `final`.
    statuses: dict[str, list[str]]
    settings: list[str]
    scopes: list[str]
    #: Name -> description.
    templates: dict[str, str]


def read() -> Table:
    """Return the table."""
    with open(PATH, encoding="utf-8") as file:  # noqa: PTH123 - without pathlib
        table: Table = json.load(file)
    return table
