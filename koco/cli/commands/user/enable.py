"""`koco user enable`: let a disabled user log in again."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the user as JSON.")] = False,
) -> None:
    """Let a disabled user log in again.

    Password and rights are as before; ended sessions stay ended.

    Example: koco user enable ada
    """
    user = connection.connect().change_user(name, active=True)
    if as_json:
        output.print_json(user)
        return
    output.print_line(f"{name}  enabled")
