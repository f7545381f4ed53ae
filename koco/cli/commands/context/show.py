"""`koco context show`: show a context."""

from typing import Annotated

import typer

from koco.cli import connection, contexts
from koco.cli.terminal import output
from koco.client import context_file


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            show_default=False,
            help="The context's name [default: the current one].",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Contact the control plane, and show its version.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Show a context: URL, start of the key, whether it is current.

    Example: koco context show staging --check
    """
    choice = connection.choice()
    context = connection.context() if name is None else context_file.find(name)
    shown = contexts.to_json(context, choice)
    if check:
        shown["version"] = contexts.fetch_version(context)
    if as_json:
        output.print_json(shown)
        return
    output.print_line(f"{'context':<14} {context.name}")
    output.print_line(f"{'url':<14} {context.url}")
    is_replaced = name is None and choice.by != "--context" and context_file.key_of_environment()
    source = ", from KOCO_KEY" if is_replaced else ""
    output.print_line(f"{'key':<14} {shown['key'] or 'none'}{source}")
    output.print_line(f"{'current':<14} {choice.said_by if shown['current'] else 'no'}")
    if check:
        output.print_line(f"{'control plane':<14} {shown['version']}")
