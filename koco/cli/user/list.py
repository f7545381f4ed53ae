"""`koco user list`: who can log in."""

from typing import Annotated, Any

import typer

_FIELDS = (
    *("name", "scopes", "flows", "all_executions"),
    *("created", "by", "last_login", "last_from"),
)
#: More than anybody makes by hand.
_MOST = 100_000


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List users by name: what each may do, and when and from where they last logged in.

    Example: koco user list
    """
    from koco.cli import output, pages, session

    client = session.connect()
    items = pages.gather(client.users, _MOST)["items"]
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        rows = [[_plain(each[name]) for name in _FIELDS] for each in items]
        output.print_table(_FIELDS, rows)
    elif items:
        columns = ("NAME", "SCOPES", "FLOWS", "LAST LOGIN", "FROM")
        output.print_table(columns, [_row(each) for each in items], widest="FLOWS")
    else:
        output.note("there are none; `koco user create NAME` makes one")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else value or ""


def _row(user: dict[str, Any]) -> tuple[str, ...]:
    from koco.cli import clock

    flows = ", ".join(user["flows"]) or "all"
    flows += "" if user["all_executions"] else ", own executions"
    last = clock.ago(user["last_login"]) if user["last_login"] else "never"
    return user["name"], ",".join(user["scopes"]), flows, last, user["last_from"] or "-"
