"""`koco user password`: change a user's password."""

from typing import Annotated

from koco.cli import connection
from koco.cli.inputs import password_prompt, prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.errors import UsageError


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    source: Annotated[
        str | None,
        Argument(metavar="[-]", help="- reads the new password from stdin.", show_default=False),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Change a user's password.

    Admins can change any password. Others can change their own, and must give the old one.
    All sessions of that user end at once.

    Example: koco user password ada
    """
    client = connection.connect()
    me = client.me()
    old = None
    if "admin" not in me["scopes"]:
        if not prompt.can_ask(no_input=False):
            raise UsageError("the old password must be typed at a terminal")
        old = password_prompt.ask_existing(None, f"Old password of {name}", usage="")
    usage = f"`koco user password {name} -` reads it from stdin"
    password = password_prompt.ask_new(source, f"New password of {name}", usage=usage)
    answer = client.set_password(name, password, old=old)
    if as_json:
        output.print_json(answer)
        return
    if me["name"] == name:
        output.note(f"your session has ended, too; log in again: `{connection.context().login}`")
    output.print_line(f"{name}  password set")
