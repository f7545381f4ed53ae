"""`koco key revoke`: take a key away."""

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what it was as JSON.")] = False,
) -> None:
    """Take a key away: it is good for nothing at once, and what is followed by it ends.

    Executions that were launched by it go on. The last admin key that does not expire stays.

    Example: koco key revoke ci
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    key = connection.connect().revoke_key(name)
    if as_json:
        output.print_json(key)
        return
    output.print_line(f"{name}  revoked")
