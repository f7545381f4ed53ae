"""`koco secret unset`: remove a secret."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The secret's name.")],
    force: Annotated[
        bool, Option("--force", help="Remove it even if live services use it.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove a secret.

    Refused while live services use it, unless --force is given: then their processes keep
    it, but no new ones start.

    Example: koco secret unset OPENAI_API_KEY
    """
    answer = connection.connect().unset_secret(name, force=force)
    if as_json:
        output.print_json(answer)
        return
    output.print_line(f"{name}  unset")
