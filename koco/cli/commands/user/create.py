"""`koco user create`: create a user."""

from typing import Annotated

from koco.cli import arguments, connection, takeover
from koco.cli.inputs import password_prompt
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    source: Annotated[
        str | None,
        Argument(metavar="[-]", help="- reads the password from stdin.", show_default=False),
    ] = None,
    scopes: arguments.Scopes = None,
    flows: arguments.Flows = None,
    all_executions: Annotated[
        bool, Option("--all-executions", help="Let them see everybody's executions.")
    ] = False,
    email: Annotated[
        str, Option(metavar="ADDRESS", help="Their e-mail address.", show_default=False)
    ] = "",
    as_json: Annotated[bool, Option("--json", help="Print the user as JSON.")] = False,
) -> None:
    """Create a user, who can then log in with a password.

    The password is typed twice without being shown, or comes from stdin. The scopes are read,
    launch, deploy and admin; each includes read, and admin includes all. A user without admin
    or --all-executions sees only their own executions.

    Example: koco user create ada --scope launch
    """
    client = connection.connect()
    usage = f"`koco user create {name} -` reads it from stdin"
    user = client.create_user(
        name,
        password_prompt.ask_new(source, f"Password of {name}", usage=usage),
        scopes=arguments.split_scopes(scopes),
        flows=flows or [],
        all_executions=all_executions,
        email=email,
    )
    takeover.note(client, name)
    if as_json:
        output.print_json(user)
        return
    address = connection.context().url
    output.note(
        f"scope {', '.join(user['scopes'])}; to log in: `koco login {address} --user {name}`"
    )
    output.print_line(name)
