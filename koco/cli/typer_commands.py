"""The same commands as typer has them: for help, and for command lines that are wrong or not plain.

Only the module of the called command is imported, and none for help.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from koco import __version__
from koco.cli import connection
from koco.cli.catalog import COMMANDS, GROUPS, first_line, load
from koco.cli.parameters import Option, Parameter
from koco.cli.terminal import output
from koco.errors import UsageError

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


def invoke(args: list[str]) -> int:
    """Run a command line and return the exit code.

    Raises:
        UsageError: it is wrong.
    """
    # Not the group's own `main`: it exits with 1 if the reader of the output is gone, as if the
    # followed execution had ended in error.
    group = build()
    try:
        with group.make_context("koco", _expand(args)) as ctx:
            code = group.invoke(ctx)
    except typer.Exit as exc:
        return exc.exit_code
    except typer.TyperException as exc:
        if type(exc).__name__ == "NoArgsIsHelpError":  # the message is the help
            output.note(exc.format_message())
            return UsageError.exit_code
        from koco.cli import wrong_usage  # only for a command line that is wrong

        raise wrong_usage.error(exc, args) from exc
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


def _load(name: str) -> Any:
    """Import a command's module and return the command."""
    return adapt(load(name), name)


def adapt(function: Callable[..., Any], name: str) -> Any:
    """Return typer's command for a command's function, with typer's parameters for ours."""

    def call(**values: Any) -> Any:
        return function(**values)

    call.__doc__ = function.__doc__
    signature = inspect.signature(function)
    made = {each.name: _typers(each.annotation) for each in signature.parameters.values()}
    call.__annotations__ = made
    parameters = [
        each.replace(annotation=made[each.name]) for each in signature.parameters.values()
    ]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
    app.command(name.rpartition(" ")[2])(call)
    return typer.main.get_command(app)


def _typers(annotation: Any) -> Any:
    """Return an annotation with typer's parameter for ours."""
    declared: Parameter = annotation.__metadata__[0]
    make: Any = typer.Option if isinstance(declared, Option) else typer.Argument
    return Annotated[annotation.__origin__, make(*declared.names, **declared.options)]
