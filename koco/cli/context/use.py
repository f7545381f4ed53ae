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
    from koco import config
    from koco.cli import contexts, output

    config.chosen()  # a broken koco.toml is told of before anything is done
    config.use_context(name)
    choice = contexts.announce(name)
    if as_json:
        output.print_json(contexts.wire(config.find(name), choice))
        return
    output.print_line(name)
