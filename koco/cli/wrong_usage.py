"""Explain errors in a command line, and suggest the likely intention."""

import re
import shlex
from typing import TYPE_CHECKING

from koco.cli import words
from koco.errors import UsageError

if TYPE_CHECKING:
    import typer

#: Commands whose users may leave out the `-i` of an input.
_TAKE_INPUTS = ("koco run", "koco answer")

#: Typer's name for the type of an invalid value, and ours.
_KINDS = {"int": "a whole number", "integer": "a whole number", "float": "a number"}
_OF_ANOTHER_KIND = re.compile(rf"a valid ({'|'.join(_KINDS)})(?: range)?\b")
_TOO_LOW = re.compile(r"is not in the range x>=(-?\d+(?:\.\d+)?)")


def error(exc: "typer.TyperException", args: list[str]) -> UsageError:
    """Return our error for typer's error about a command line."""
    message = exc.format_message()
    ctx = getattr(exc, "ctx", None)
    path = ctx.command_path if ctx else "koco"
    hint = None
    if option := getattr(exc, "option_name", None):
        message = f"`{path}` has no option {option}" if "No such option" in message else message
        known = [name for param in ctx.command.params for name in param.opts] if ctx else []
        hint = _about_option(option, path, known, args)
    elif "unexpected extra argument" in message and path in _TAKE_INPUTS:
        hint = _about_pair(args)
    hint = hint or f"`{path} --help` shows how it is used"
    message = _OF_ANOTHER_KIND.sub(lambda found: _KINDS[found[1]], message)
    message = _TOO_LOW.sub(r"is not \1 or more", message)
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _about_option(option: str, path: str, known: list[str], args: list[str]) -> str | None:
    """Return a suggestion for an option that a command does not have."""
    if option in ("--context", "--version") and option not in known:
        return f"it goes before the command: `koco {option} … {path.removeprefix('koco ')}`"
    takes_inputs = path in _TAKE_INPUTS
    names = [name for name in known if name.startswith("--")]
    if hint := words.about_option(option, names, command=path.removeprefix("koco ")):
        return hint
    if near := words.suggest(option, names, is_sure=takes_inputs):
        return f"did you mean {near}?"
    return _about_input(option, args) if takes_inputs and option.startswith("--") else None


def _about_input(option: str, args: list[str]) -> str:
    """Return the right form of an input that was given as an option: `--who Ada` or `--who=Ada`."""
    given = next((each for each in args if each.startswith(f"{option}=")), option)
    name, equals, value = given.removeprefix("--").partition("=")
    if not equals:
        after = args[args.index(option) + 1 :] if option in args else []
        value = after[0] if after and not after[0].startswith("-") else "VALUE"
    return f"is it an input? `-i {shlex.quote(f'{name}={value}')}`"


def _about_pair(args: list[str]) -> str | None:
    pairs = [each for each in args if "=" in each and each.partition("=")[0].isidentifier()]
    return f"to give an input: `-i {shlex.quote(pairs[0])}`" if pairs else None
