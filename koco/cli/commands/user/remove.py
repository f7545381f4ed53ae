"""`koco user remove`: remove a user."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove a user, and end their sessions.

    Executions that they launched go on, and keep the user's name.

    Example: koco user remove ada
    """
    answer = connection.connect().remove_user(name)
    if as_json:
        output.print_json(answer)
        return
    output.print_line(f"{name}  removed")
