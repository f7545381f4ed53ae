"""`koco context show`: a control plane that is known."""

from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", show_default=False, help="The context; the current one if left out."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the control plane; say which version answers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a context: its URL, the start of its key, and what makes it the current one.

    Example: koco context show staging --check
    """
    from koco.cli import connection, contexts
    from koco.cli.terminal import output
    from koco.client import context_file

    choice = connection.choice()
    context = connection.context() if name is None else context_file.find(name)
    shown = contexts.wire(context, choice)
    if check:
        shown["version"] = contexts.version(context)
    if as_json:
        output.print_json(shown)
        return
    output.print_line(f"{'context':<14} {context.name}")
    output.print_line(f"{'url':<14} {context.url}")
    is_replaced = name is None and choice.by != "--context" and context_file.key_of_environment()
    whose = ", as KOCO_KEY says" if is_replaced else ""
    output.print_line(f"{'key':<14} {shown['key'] or 'none'}{whose}")
    output.print_line(f"{'current':<14} {choice.said_by if shown['current'] else 'no'}")
    if check:
        output.print_line(f"{'control plane':<14} {shown['version']}")
