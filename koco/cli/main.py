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

#: Command -> the first line of its help, in the order in which a new user needs the commands. A
#: name of two words is a command of a group. The module is `koco.cli.commands.` and the name. The
#: lines are here, and a test compares them with the docstrings, so that `koco --help` imports no
#: command.
COMMANDS = {
    "init": "Create a project: a manifest, code, a test and a README.",
    "validate": "Check manifests and koco.toml without contacting a control plane.",
    "schema": "Print a JSON Schema of manifests, koco.toml or event streams.",
    "up": "Start koco on this machine, or on a Ray cluster with --ray.",
    "down": "Stop what `koco up` started, on this machine or on a Ray cluster.",
    "dev": "Deploy at each save into a service of your own, and follow it.",
    "status": "Show the control plane, Ray, the store, services and executions.",
    "doctor": "Check this machine, the connection and the control plane.",
    "plan": "Show what `koco deploy` would change.",
    "deploy": "Deploy services, and wait until they are live.",
    "releases": "List a service's releases, newest first, or show one.",
    "rollback": "Go back to an earlier release of a service.",
    "undeploy": "Remove a service: its flows, its runners and its endpoint.",
    "flows": "List flows, or show one flow with its inputs.",
    "run": "Launch a flow, and print the fid of the new execution.",
    "logs": "Show the events of executions.",
    "ps": "List executions, newest first.",
    "top": "Watch services, runners and executions on the whole terminal.",
    "usage": "Add up executions and what they used, by flow, service, day, user.",
    "show": "Show an execution: its error, status, times, inputs and usage.",
    "timeline": "Show where an execution's time went, as a bar chart.",
    "steps": "List an execution's recorded steps, in the order of their calls.",
    "stack": "Show the current Python stacks of an execution.",
    "result": "Print an execution's result.",
    "wait": "Wait until executions have ended, and print their statuses.",
    "cancel": "Cancel executions.",
    "retry": "Launch ended executions again, and print the fids of the new ones.",
    "resume": "Launch ended executions again, keeping their recorded steps.",
    "schedule list": "List schedules, with their next and last times.",
    "schedule pause": "Pause schedules.",
    "schedule resume": "Resume schedules.",
    "schedule trigger": "Launch a schedule's flow now, with its inputs, and print the fid.",
    "export": "Write executions into folders: events, inputs, result, files.",
    "delete": "Delete ended executions, with their events, files and locks.",
    "inbox": "List locks that wait for a person's answer, oldest first.",
    "answer": "Answer a lock that an execution waits for.",
    "send": "Send a message to an execution, for its `tracer.receive`.",
    "mcp": "Serve flows as tools to agents on this machine, over MCP.",
    "files ls": "List an execution's files.",
    "files put": "Upload files into an execution.",
    "files get": "Download an execution's files.",
    "files rm": "Remove files from an execution.",
    "webhook create": "Have a URL told of executions, and print its secret.",
    "webhook list": "List webhooks: your own or, if you are an admin, everybody's.",
    "webhook test": "Send a test message to a webhook, and say how it went.",
    "webhook deliveries": "Show what webhooks were told and are still to be told, newest first.",
    "webhook redeliver": "Send messages to webhooks again, now.",
    "webhook rotate": "Give a webhook a new secret, and print it.",
    "webhook remove": "Remove a webhook, with its log and what it has not been told yet.",
    "secret set": "Set a secret.",
    "secret list": "List secrets, without their values.",
    "secret unset": "Remove a secret.",
    "backup": "Write a backup of a running control plane to a file.",
    "limits": "Show the limits of flows, or override those of one.",
    "config list": "List the control plane's settings.",
    "config get": "Print the value of a setting.",
    "config set": "Change settings of the control plane while it runs.",
    "config unset": "Set settings back to their defaults.",
    "completion": "Print a script that completes commands in your shell.",
    "audit": "Show the audit log: who changed what, and what was refused.",
    "key create": "Create an API key, and print it.",
    "key list": "List API keys.",
    "key rotate": "Give an API key a new secret, and print it.",
    "key revoke": "Revoke an API key.",
    "user create": "Create a user, who can then log in with a password.",
    "user list": "List users.",
    "user update": "Change a user's rights or e-mail address.",
    "user disable": "Keep a user from logging in, and end their sessions at once.",
    "user enable": "Let a disabled user log in again.",
    "user remove": "Remove a user, and end their sessions.",
    "user password": "Change a user's password.",
    "login": "Log in to a control plane, and make it the current context.",
    "logout": "Log out: end the session of the current context.",
    "context list": "List contexts.",
    "context show": "Show a context: URL, start of the key, whether it is current.",
    "context use": "Make a context the current one.",
    "context add": "Add a context without contacting its control plane.",
    "context remove": "Remove a context and its key.",
}

#: Group -> its help, which `koco GROUP --help` shows above the list of its commands.
GROUPS = {
    "schedule": """List, pause, resume and trigger schedules.

    Example: koco schedule pause report/daily
    """,
    "files": """List, upload, download and remove the files of an execution.

    Example: koco files ls 5wzk
    """,
    "webhook": """Have URLs told when executions end or need a person.

    Example: koco webhook create chat https://example.com/hook --on awaiting
    """,
    "secret": """Manage secrets: API keys, passwords and tokens that services need.

    Example: koco secret set OPENAI_API_KEY
    """,
    "config": """Show and change the control plane's settings.

    Example: koco config set max_running=50
    """,
    "key": """Manage API keys for people, pipelines and agents.

    Example: koco key create ci --scope deploy
    """,
    "user": """Manage users, who log in with a password.

    Example: koco user create ada --scope launch
    """,
    "context": """Manage contexts: the control planes that you work with.

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

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing any of them."""
        from koco.cli import panels  # only for help

        names = self.list_commands(ctx)
        for title, panel in ({"Commands": names} if self.prefix else panels.sort(names)).items():
            with formatter.section(title):
                formatter.write_dl([(name, first_line(self.prefix + name)) for name in panel])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command's module and return the command, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in self.commands:
            name = self.prefix + cmd_name
            self.commands[cmd_name] = _load(name) if name in COMMANDS else _load_group(name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve a command. If there is none of that name, suggest the likely one."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            from koco.cli import words  # only for a command line that is wrong

            path = f"koco {self.prefix}"
            hint = words.about_command(name, self.prefix.strip())
            if hint is None and (near := words.suggest(name, known, prefix=self.prefix)):
                hint = f"did you mean `{path}{near}`?"
            hint = hint or f"`{path}--help` lists the commands"
            raise UsageError(f"there is no command {self.prefix + name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def _has(self, name: str) -> bool:
        return name.startswith(self.prefix)


def build() -> Any:
    """Return the group `koco`, with its global options."""
    return _make_group(Registry, _globals)


def _load_group(name: str) -> Any:
    """Return a group of commands."""

    def no_options() -> None:
        pass

    no_options.__doc__ = GROUPS[name]
    return _make_group(type("Group", (Registry,), {"prefix": f"{name} "}), no_options)


def _make_group(kind: type[Registry], options: Callable[..., None]) -> Any:
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
        return end_quietly()
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except typer.Abort:
        return Interrupted.exit_code
    except Exception as exc:  # noqa: BLE001 - the one place where errors become messages
        return _report(exc, args)
    finally:
        output.let_go()


def _invoke(args: list[str]) -> int:
    # Not the group's own `main`: it exits with 1 if the reader of the output is gone, as if the
    # followed execution had ended in error.
    group = build()
    try:
        with group.make_context("koco", _expand(args)) as ctx:
            code = group.invoke(ctx)
    except typer.Exit as exc:
        return exc.exit_code
    return code if isinstance(code, int) else 0


def _expand(args: list[str]) -> list[str]:
    """Return the arguments with `help` and `version` replaced by their options."""
    if args[:1] == ["help"]:
        names = [each for each in args[1:] if each not in ("help", "--help", "-h")]
        return [*names, "--help"]
    return ["--version"] if args == ["version"] else list(args)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        output.print_line(f"koco {__version__}")
        raise typer.Exit


def _globals(
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="NAME", help="The context to use."),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option("--env", metavar="NAME", help="The environment of koco.toml to use."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print koco's version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Deploy flows to Ray, run them, and follow their executions.

    `koco COMMAND --help` explains a command.

    Example: koco init hello && cd hello && koco up && koco deploy && koco run greet -f
    """
    connection.choose(context)
    connection.choose_environment("" if env is None else env)  # tests run several in one process


def first_line(name: str) -> str:
    """Return the first line of the help of a command or a group."""
    return COMMANDS[name] if name in COMMANDS else GROUPS[name].partition("\n")[0]


def _load(name: str) -> Any:
    """Import a command's module and return the command."""
    module = importlib.import_module(f"koco.cli.commands.{name.replace(' ', '.')}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
    app.command(name.rpartition(" ")[2])(module.command)
    return typer.main.get_command(app)


def _report(exc: Exception, args: list[str]) -> int:
    """Write an error to stderr and return its exit code."""
    if isinstance(exc, typer.TyperException):
        if type(exc).__name__ == "NoArgsIsHelpError":  # the message is the help
            output.note(exc.format_message())
            return UsageError.exit_code
        from koco.cli import wrong_usage  # only for a command line that is wrong

        exc = wrong_usage.error(exc, args)
    elif isinstance(exc, OSError) and (unwritten := output.unwritten(exc)):
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
