"""Options and arguments, as the annotations of a command's function declare them.

`command_line` reads them directly, and `typer_commands` makes typer's from them, for help and for
lines that are wrong. Importing typer takes four times as long as bare Python.
"""

from typing import TypedDict, Unpack


class Options(TypedDict, total=False):
    """How a parameter is shown, and what it may be."""

    help: str
    metavar: str
    show_default: bool
    min: float
    max: float


class Parameter:
    """A parameter of a command. Without names, the function's parameter gives it."""

    __slots__ = ("names", "options")

    def __init__(self, *names: str, **options: Unpack[Options]) -> None:
        self.names = names
        self.options = options


class Option(Parameter):
    """A parameter that its name introduces; a flag if it is a bool."""


class Argument(Parameter):
    """A parameter by its place."""
