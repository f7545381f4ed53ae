"""The command `koco`: it runs a command line, and handles its errors. `catalog` has the commands.

A command is a module with a function `command`, whose docstring is its help and ends with an
example. Only the module of the called command is imported. A line that is right is read by
`command_line`; help and errors take typer.
"""

import os
import sys
from typing import Any

from koco.cli import command_line, connection
from koco.cli.catalog import COMMANDS, GROUPS, first_line
from koco.cli.exits import Exit
from koco.cli.terminal import output
from koco.errors import Interrupted, KocoError, UsageError, unexpected

__all__ = ["COMMANDS", "GROUPS", "build", "first_line", "run"]

#: The exit code that a shell reports if a program's reader is gone: 128 + SIGPIPE.
PIPE_CLOSED = 141


def run(args: list[str]) -> int:
    """Run a command line and return the exit code. Errors are written to stderr."""
    try:
        output.prepare()
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return end_quietly()
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except Exception as exc:  # noqa: BLE001 - the one place where errors become messages
        return _report(exc, args)
    finally:
        output.let_go()


def _invoke(args: list[str]) -> int:
    try:
        if (line := command_line.read(args, COMMANDS)) is None:
            from koco.cli import typer_commands  # 40 ms

            return typer_commands.invoke(args)
        connection.choose(line.context)
        connection.choose_environment(line.env or "")  # tests run several in one process
        code = line.function(**line.values)
    except Exit as exc:
        return exc.code
    return code if isinstance(code, int) else 0


def build() -> Any:
    """Return the group `koco` as typer has it."""
    from koco.cli import typer_commands  # as above

    return typer_commands.build()


def _report(exc: Exception, args: list[str]) -> int:
    """Write an error to stderr and return its exit code."""
    if isinstance(exc, OSError) and (unwritten := output.unwritten(exc)):
        exc = unwritten
    elif isinstance(exc, FileNotFoundError) and exc.filename is None and _is_folder_gone():
        # Any command raises this when it reads the current folder.
        what = "the current folder no longer exists"
        exc = UsageError(what, hint="`cd` to another one, or `cd .` if it was created again")
    elif not isinstance(exc, KocoError):
        if os.environ.get("KOCO_DEBUG"):
            import traceback  # only for a bug

            traceback.print_exception(exc)
        exc = unexpected(exc)
    try:
        from koco.tokens import mask_all  # only if there is an error

        # A key that was typed in the wrong place must not get into logs.
        exc.message, exc.hint = mask_all(exc.message), mask_all(exc.hint or "") or None
        # Earlier output comes first, even if both streams go to one file.
        sys.stdout.flush()
    except BrokenPipeError:
        return end_quietly()
    except OSError as unwritable:
        # This error goes first, because the output is incomplete.
        exc = output.unwritten(unwritable) or exc
    try:
        output.print_error(exc, as_json="--json" in args)
    except BrokenPipeError:
        return end_quietly()
    return exc.exit_code


def _is_folder_gone() -> bool:
    """Return whether the current folder was removed."""
    try:
        os.getcwd()  # noqa: PTH109 - no path object is wanted
    except FileNotFoundError:
        return True
    return False


def end_quietly() -> int:
    """Let the interpreter end without a message about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
