"""`koco user create`: let somebody log in with a password."""

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom koco knows them as.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[-]", help="`-` reads the password from stdin.", show_default=False
        ),
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="What they may do; repeatable. launch if left out."
        ),
    ] = None,
    flows: Annotated[
        list[str] | None,
        typer.Option("--flow", metavar="GLOB", help="Only these flows, as hymn/*; repeatable."),
    ] = None,
    all_executions: Annotated[
        bool, typer.Option("--all-executions", help="They see everybody's executions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the user as JSON.")] = False,
) -> None:
    """Let somebody log in; their password is typed twice and not shown, or comes from stdin.

    Scopes are read, launch, deploy and admin; each includes read, and admin all of them.
    Without an admin's or --all-executions, they see their own executions only.

    Example: koco user create ada --scope launch
    """
    from koco.cli import connection
    from koco.cli.inputs import password_prompt
    from koco.cli.terminal import output

    client = connection.connect()
    usage = f"`koco user create {name} -` reads it from stdin"
    user = client.create_user(
        name,
        password_prompt.new(source, f"Password of {name}", usage=usage),
        scopes=[each for given in scopes or ["launch"] for each in given.split(",") if each],
        flows=flows or [],
        all_executions=all_executions,
    )
    if as_json:
        output.print_json(user)
        return
    address = connection.context().url
    output.note(f"`koco login {address} --user {name}` logs in, for: {', '.join(user['scopes'])}")
    output.print_line(name)
