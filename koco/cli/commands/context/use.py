"""`koco context use`: which control plane is meant from now on."""

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The context.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Make a context the current one, and say so where something else goes over it.

    Example: koco context use staging
    """
    from koco.cli import contexts
    from koco.cli.terminal import output
    from koco.client import context_file

    context_file.chosen()  # a broken koco.toml is told of before anything is done
    context_file.use_context(name)
    choice = contexts.announce(name)
    if as_json:
        output.print_json(contexts.wire(context_file.find(name), choice))
        return
    output.print_line(name)
