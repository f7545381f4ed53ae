"""`koco secret list`: which secrets there are."""

from typing import Annotated, Any

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List secrets by name, and the live services that have them; no value is ever shown.

    Example: koco secret list
    """
    from koco.cli import connection
    from koco.cli.terminal import output

    items = connection.connect().secrets()
    if as_json:
        output.print_items(items)
        return
    if not output.is_terminal():
        names = ("name", "updated", "by", "services")
        rows = [
            (*(str(each[key]) for key in names[:3]), ",".join(each["services"])) for each in items
        ]
        output.print_table(names, rows)
    elif items:
        columns = ("NAME", "SET", "BY", "SERVICES")
        output.print_table(columns, [_row(each) for each in items], widest="SERVICES")
    else:
        output.note("there are none; `koco secret set NAME` sets one")
    for each in items:
        if each["trouble"]:
            output.note(f"warning: {each['trouble']}")


def _row(secret: dict[str, Any]) -> tuple[str, str, str, str]:
    from koco.cli.terminal import times

    services = ", ".join(secret["services"]) or "-"
    return secret["name"], times.ago(secret["updated"]), secret["by"], services
