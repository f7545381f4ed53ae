"""`koco user list`: who can log in."""

from typing import Annotated, Any

import typer

_FIELDS = (
    *("name", "scopes", "flows", "all_executions"),
    *("created", "by", "last_login", "last_from"),
)


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List users by name: what each may do, and when and from where they last logged in.

    Example: koco user list
    """
    from koco.cli import connection
    from koco.cli.terminal import output, scope_text

    items = connection.connect().users()
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        rows = [[scope_text.plain(each[name]) for name in _FIELDS] for each in items]
        output.print_table(_FIELDS, rows)
    elif items:
        columns = ("NAME", "SCOPES", "FLOWS", "LAST LOGIN", "FROM")
        output.print_table(columns, [_row(each) for each in items], widest="FLOWS")
    else:
        output.note("there are none; `koco user create NAME` makes one")


def _row(user: dict[str, Any]) -> tuple[str, ...]:
    from koco.cli.terminal import scope_text, times

    last = times.ago(user["last_login"]) if user["last_login"] else "never"
    return (
        user["name"],
        ",".join(user["scopes"]),
        scope_text.flows(user),
        last,
        user["last_from"] or "-",
    )
