"""`koco user disable`: keep a user from logging in."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the user as JSON.")] = False,
) -> None:
    """Keep a user from logging in, and end their sessions at once.

    Executions that they launched go on. Keys that they created stay valid: a note names them.
    Nobody can disable their own account.

    Example: koco user disable ada
    """
    client = connection.connect()
    user = client.change_user(name, active=False)
    if as_json:
        output.print_json(user)
        return
    output.print_line(f"{name}  disabled")
    keys = client.keys()
    if made := [each["name"] for each in keys if each["by"] == name]:
        output.note(
            f"keys that {name} created stay valid: {', '.join(made)};"
            " `koco key revoke NAME` revokes one"
        )
