"""`koco user update`: change the rights or the e-mail address of a user."""

from typing import Annotated

from koco.cli import arguments, connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, scope_text
from koco.errors import UsageError


def command(
    name: Annotated[str, Argument(metavar="NAME", help="The user's name.")],
    scopes: Annotated[
        list[str] | None,
        Option("--scope", metavar="SCOPE", help="Their only permissions (repeatable)."),
    ] = None,
    flows: Annotated[
        list[str] | None,
        Option("--flow", metavar="GLOB", help="Their only flows (repeatable)."),
    ] = None,
    all_flows: Annotated[bool, Option("--all-flows", help="Let them use all flows.")] = False,
    all_executions: Annotated[
        bool | None,
        Option(
            "--all-executions/--own-executions",
            help="Let them see everybody's executions, or only their own.",
            show_default=False,
        ),
    ] = None,
    email: Annotated[
        str | None, Option(metavar="ADDRESS", help="Their e-mail address; '' removes it.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the user as JSON.")] = False,
) -> None:
    """Change a user's rights or e-mail address.

    Values that are not given stay as they are. Sessions go on with the new rights.

    Example: koco user update ada --scope launch,deploy --email ada@example.com
    """
    if flows and all_flows:
        raise UsageError("--flow and --all-flows contradict each other", hint="give one of them")
    changes = {
        "scopes": arguments.split_scopes(scopes) if scopes else None,
        "flows": [] if all_flows else flows or None,
        "all_executions": all_executions,
        "email": email,
    }
    if all(value is None for value in changes.values()):
        raise UsageError("nothing to change", hint="`koco user update --help` lists the options")
    user = connection.connect().change_user(name, **changes)
    if as_json:
        output.print_json(user)
        return
    output.print_line(f"{name}  {', '.join(user['scopes'])}; flows: {scope_text.flows(user)}")
