"""The command `koco`: the table of its commands, and the handling of their errors.

A command is a module with a function `command`, whose docstring is its help and ends with an
example. Only the module of the called command is imported.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from koco import __version__
from koco.cli import connection
from koco.cli.terminal import output
from koco.errors import Interrupted, KocoError, UsageError, unexpected

#: Command -> module, in the order of `koco --help`: the order in which a new user needs them. A
#: name of two words is a command of a group.
COMMANDS = {
    "init": "koco.cli.commands.init",
    "validate": "koco.cli.commands.validate",
    "schema": "koco.cli.commands.schema",
    "up": "koco.cli.commands.up",
    "down": "koco.cli.commands.down",
    "status": "koco.cli.commands.status",
    "doctor": "koco.cli.commands.doctor",
    "plan": "koco.cli.commands.plan",
    "deploy": "koco.cli.commands.deploy",
    "releases": "koco.cli.commands.releases",
    "rollback": "koco.cli.commands.rollback",
    "undeploy": "koco.cli.commands.undeploy",
    "flows": "koco.cli.commands.flows",
    "run": "koco.cli.commands.run",
    "logs": "koco.cli.commands.logs",
    "ps": "koco.cli.commands.ps",
    "show": "koco.cli.commands.show",
    "stack": "koco.cli.commands.stack",
    "result": "koco.cli.commands.result",
    "wait": "koco.cli.commands.wait",
    "cancel": "koco.cli.commands.cancel",
    "retry": "koco.cli.commands.retry",
    "delete": "koco.cli.commands.delete",
    "inbox": "koco.cli.commands.inbox",
    "answer": "koco.cli.commands.answer",
    "files ls": "koco.cli.commands.files.ls",
    "files put": "koco.cli.commands.files.put",
    "files get": "koco.cli.commands.files.get",
    "files rm": "koco.cli.commands.files.rm",
    "secret set": "koco.cli.commands.secret.set",
    "secret list": "koco.cli.commands.secret.list",
    "secret unset": "koco.cli.commands.secret.unset",
    "audit": "koco.cli.commands.audit",
    "key create": "koco.cli.commands.key.create",
    "key list": "koco.cli.commands.key.list",
    "key rotate": "koco.cli.commands.key.rotate",
    "key revoke": "koco.cli.commands.key.revoke",
    "user create": "koco.cli.commands.user.create",
    "user list": "koco.cli.commands.user.list",
    "user remove": "koco.cli.commands.user.remove",
    "user password": "koco.cli.commands.user.password",
    "login": "koco.cli.commands.login",
    "logout": "koco.cli.commands.logout",
    "context list": "koco.cli.commands.context.list",
    "context show": "koco.cli.commands.context.show",
    "context use": "koco.cli.commands.context.use",
    "context add": "koco.cli.commands.context.add",
    "context remove": "koco.cli.commands.context.remove",
}

#: Group -> its help, which `koco GROUP --help` shows above the list of its commands.
GROUPS = {
    "files": """List, upload, download and remove the files of an execution.

    Example: koco files ls 5wzk
    """,
    "secret": """Keep what services need and nobody may read: keys, passwords, tokens.

    Example: koco secret set OPENAI_API_KEY
    """,
    "key": """Give people, pipelines and agents keys, each good for what it is for.

    Example: koco key create ci --scope deploy
    """,
    "user": """Say who may log in with a password, and for what.

    Example: koco user create ada --scope launch
    """,
    "context": """Say which control planes are known here, and which of them is meant.

    Example: koco context use staging
    """,
}

#: The exit code that a shell reports if a program's reader is gone: 128 + SIGPIPE.
PIPE_CLOSED = 141

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Registry(TyperGroup):
    """The group of all commands. It imports a command when it is requested."""

    #: The prefix of its commands' names: a group's name and a space.
    prefix = ""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names without an import. A group's commands appear as the group's name."""
        ours = (name.removeprefix(self.prefix) for name in COMMANDS if self._has(name))
        return list(dict.fromkeys(name.partition(" ")[0] for name in ours))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command's module and return the command, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in self.commands:
            name = self.prefix + cmd_name
            self.commands[cmd_name] = _load(name) if name in COMMANDS else _group(name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve a command. If there is none of that name, suggest the likely one."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            from koco.cli import words

            path = f"koco {self.prefix}"
            hint = words.about_command(name, self.prefix.strip())
            if hint is None and (near := words.nearest(name, known, prefix=self.prefix)):
                hint = f"did you mean `{path}{near}`?"
            hint = hint or f"`{path}--help` lists the commands"
            raise UsageError(f"there is no command {self.prefix + name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def _has(self, name: str) -> bool:
        return name.startswith(self.prefix)


def build() -> Any:
    """Return the group `koco`, with its global options."""
    return _made(Registry, _globals)


def _group(name: str) -> Any:
    """Return a group of commands."""

    def no_options() -> None:
        pass

    no_options.__doc__ = GROUPS[name]
    return _made(type("Group", (Registry,), {"prefix": f"{name} "}), no_options)


def _made(kind: type[Registry], options: Callable[..., None]) -> Any:
    app = typer.Typer(
        cls=kind,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings=_SETTINGS,
    )
    app.callback()(options)
    return typer.main.get_command(app)


def run(args: list[str]) -> int:
    """Run a command line and return the exit code. Errors are written to stderr."""
    try:
        output.prepare()
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return pipe_closed()
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except typer.Abort:
        return Interrupted.exit_code
    except Exception as exc:  # noqa: BLE001 - the one place where errors become messages
        return _failed(exc, args)
    finally:
        output.let_go()


def _invoke(args: list[str]) -> int:
    # Not the group's own `main`: it exits with 1 if the reader of the output is gone, as if the
    # followed execution had ended in error.
    group = build()
    try:
        with group.make_context("koco", _spelt_out(args)) as ctx:
            code = group.invoke(ctx)
    except typer.Exit as exc:
        return exc.exit_code
    return code if isinstance(code, int) else 0


def _spelt_out(args: list[str]) -> list[str]:
    """Return the arguments with `help` and `version` replaced by their options."""
    if args[:1] == ["help"]:
        asked = [each for each in args[1:] if each not in ("help", "--help", "-h")]
        return [*asked, "--help"]
    return ["--version"] if args == ["version"] else list(args)


def _print_version(asked: bool) -> None:
    if asked:
        output.print_line(f"koco {__version__}")
        raise typer.Exit


def _globals(
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="NAME", help="The control plane to talk to, by name."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Deploy flows to Ray, run them, and follow them to the end.

    `koco help COMMAND` shows how a command is used.

    Example: koco init hello && cd hello && koco up && koco deploy && koco run greet -f
    """
    connection.choose(context)


def _load(name: str) -> Any:
    module = importlib.import_module(COMMANDS[name])
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
    app.command(name.rpartition(" ")[2])(module.command)
    return typer.main.get_command(app)


def _failed(exc: Exception, args: list[str]) -> int:
    """Write an error to stderr and return its exit code."""
    if isinstance(exc, typer.TyperException):
        if type(exc).__name__ == "NoArgsIsHelpError":  # the message is the help
            output.note(exc.format_message())
            return UsageError.exit_code
        from koco.cli import usage

        exc = usage.error(exc, args)
    elif isinstance(exc, OSError) and (unwritten := output.unwritten(exc)):
        exc = unwritten
    elif isinstance(exc, FileNotFoundError) and exc.filename is None and _is_nowhere():
        # Any command raises this when it reads the current folder.
        what = "the current folder is not there any more"
        exc = UsageError(what, hint="`cd` to one that is there; `cd .` if it was made again")
    elif not isinstance(exc, KocoError):
        if os.environ.get("KOCO_DEBUG"):
            import traceback

            traceback.print_exception(exc)
        exc = unexpected(exc)
    try:
        from koco.tokens import mask_all

        # A key that was typed in the wrong place must not get into logs.
        exc.message, exc.hint = mask_all(exc.message), mask_all(exc.hint or "") or None
        # Earlier output comes first, even if both streams go to one file.
        sys.stdout.flush()
    except BrokenPipeError:
        return pipe_closed()
    except OSError as unwritable:
        # This error goes first, because the output is incomplete.
        exc = output.unwritten(unwritable) or exc
    try:
        output.print_error(exc, as_json="--json" in args)
    except BrokenPipeError:
        return pipe_closed()
    return exc.exit_code


def _is_nowhere() -> bool:
    """Return whether the current folder was removed."""
    try:
        os.getcwd()  # noqa: PTH109 - no path object is wanted
    except FileNotFoundError:
        return True
    return False


def pipe_closed() -> int:
    """Let the interpreter end without a message about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
