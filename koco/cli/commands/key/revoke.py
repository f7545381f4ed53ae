"""`koco key revoke`: revoke a key."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The key's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the key's last state as JSON.")] = False,
) -> None:
    """Revoke an API key.

    It is invalid at once, and streams that are followed with it end. Executions that it
    launched go on. The last admin key that does not expire cannot be revoked.

    Example: koco key revoke ci
    """
    key = connection.connect().revoke_key(name)
    if as_json:
        output.print_json(key)
        return
    output.print_line(f"{name}  revoked")
