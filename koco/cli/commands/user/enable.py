"""`koco user enable`: let a disabled user log in again."""

from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.terminal import output


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the user as JSON.")] = False,
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
