"""`koco key create`: create a key for a person, a pipeline or an agent."""

import sys
from typing import Annotated

from koco.cli import arguments, connection, takeover
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times


def command(
    name: Annotated[
        str, Argument(metavar="NAME", help="The key's name, by which koco knows its holder.")
    ],
    scopes: arguments.Scopes = None,
    flows: arguments.Flows = None,
    expires: Annotated[
        str | None,
        Option(
            "--expires",
            metavar="TIME",
            help="When it expires: after 30d or 12h, for example [default: never].",
        ),
    ] = None,
    all_executions: Annotated[
        bool, Option("--all-executions", help="Let it see everybody's executions.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the key as JSON.")] = False,
) -> None:
    """Create an API key, and print it.

    The key is shown only once. The scopes are read, launch, deploy and admin; each includes
    read, and admin includes all. A key without admin or --all-executions sees only the
    executions that it launched.

    Example: koco key create ci --scope deploy --expires 90d
    """
    expires_s = times.duration(expires, "--expires") if expires is not None else None
    client = connection.connect()
    key = client.create_key(
        name,
        scopes=arguments.split_scopes(scopes),
        flows=flows or [],
        all_executions=all_executions,
        expires_s=expires_s,
    )
    takeover.note(client, name)
    if as_json:
        output.print_json(key)
        return
    until = f", until {times.at(key['expires'], sys.stderr)}" if key["expires"] else ""
    output.note(f"key {name!r} with scope {', '.join(key['scopes'])}{until}; it is shown only once")
    output.print_line(key["secret"])
