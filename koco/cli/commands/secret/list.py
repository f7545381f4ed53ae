"""`koco secret list`: list secrets."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output, times
from koco.client.answers import Secret


def command(
    as_json: Annotated[bool, Option("--json", help="Print the secrets as JSON.")] = False,
) -> None:
    """List secrets, without their values.

    Shows who set each secret and when, and which live services use it.

    Example: koco secret list
    """
    items = connection.connect().secrets()
    if as_json:
        output.print_items(items)
        return
    if not output.is_terminal():
        names = ("name", "updated", "by", "services")
        rows = [
            (each["name"], each["updated"], each["by"], ",".join(each["services"]))
            for each in items
        ]
        output.print_table(names, rows)
    elif items:
        columns = ("NAME", "SET", "BY", "SERVICES")
        output.print_table(columns, [_row(each) for each in items], widest="SERVICES")
    else:
        output.note("no secrets yet; `koco secret set NAME` sets one")
    for each in items:
        if each["trouble"]:
            output.note(f"warning: {each['trouble']}")


def _row(secret: Secret) -> tuple[str, str, str, str]:
    services = ", ".join(secret["services"]) or "-"
    return secret["name"], times.ago(secret["updated"]), secret["by"], services
