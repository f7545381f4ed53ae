"""`koco context use`: make a context the current one."""

from typing import Annotated

from koco.cli import contexts
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.client import context_file


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The context's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the context as JSON.")] = False,
) -> None:
    """Make a context the current one.

    A note says if the environment or koco.toml selects another one.

    Example: koco context use staging
    """
    context_file.select()  # reports a broken koco.toml before anything changes
    context_file.use_context(name)
    choice = contexts.announce(name)
    if as_json:
        output.print_json(contexts.to_json(context_file.find(name), choice))
        return
    output.print_line(name)
