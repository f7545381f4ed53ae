"""`koco user remove`: nobody logs in by that name any more."""

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove a user; their sessions end at once, with what is followed by them.

    Executions that they have launched go on, and keep their name.

    Example: koco user remove ada
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    answer = connection.connect().remove_user(name)
    if as_json:
        output.print_json(answer)
        return
    output.print_line(f"{name}  removed")
