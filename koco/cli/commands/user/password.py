"""`koco user password`: give a user another one."""

from typing import Annotated

import typer

from koco.errors import UsageError


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="`-` reads the new one from stdin.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Give a user another password: an admin to anybody, others to themselves.

    Whoever is no admin is asked for the old one. All sessions of that user end at once.

    Example: koco user password ada
    """
    from koco.cli import connection
    from koco.cli.inputs import password_prompt, prompt
    from koco.cli.terminal import output

    client = connection.connect()
    me = client.me()
    old = None
    if "admin" not in me["scopes"]:
        if not prompt.can_ask(no_input=False):
            raise UsageError("the old password is asked for, at a terminal")
        old = password_prompt.known(None, f"Old password of {name}", usage="")
    usage = f"`koco user password {name} -` reads it from stdin"
    password = password_prompt.new(source, f"New password of {name}", usage=usage)
    answer = client.set_password(name, password, old=old)
    if as_json:
        output.print_json(answer)
        return
    if me["name"] == name:
        output.note(f"this session has ended, too; log in again: `{connection.context().login}`")
    output.print_line(f"{name}  password set")
