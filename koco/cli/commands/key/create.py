"""`koco key create`: make a key for a person, a pipeline or an agent."""

import sys
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom koco knows its holder as.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="What it is good for; repeatable. launch if left out."
        ),
    ] = None,
    flows: Annotated[
        list[str] | None,
        typer.Option("--flow", metavar="GLOB", help="Only these flows, as hymn/*; repeatable."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long it is good: 30d, 12h."),
    ] = None,
    all_executions: Annotated[
        bool, typer.Option("--all-executions", help="It sees everybody's executions.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the key as JSON.")] = False,
) -> None:
    """Make a key and print it; it is shown this once.

    Scopes are read, launch, deploy and admin; each includes read, and admin all of them.
    Without an admin's or --all-executions, its holder sees their own executions only.

    Example: koco key create ci --scope deploy --expires 90d
    """
    from koco.cli import connection
    from koco.cli.terminal import output, times

    expires_s = times.duration(expires, "--expires") if expires is not None else None
    key = connection.connect().create_key(
        name,
        scopes=[each for given in scopes or ["launch"] for each in given.split(",") if each],
        flows=flows or [],
        all_executions=all_executions,
        expires_s=expires_s,
    )
    if as_json:
        output.print_json(key)
        return
    until = f", until {times.at(key['expires'], sys.stderr)}" if key["expires"] else ""
    output.note(f"the key {name!r}, for: {', '.join(key['scopes'])}{until}; it is shown this once")
    output.print_line(key["secret"])
