"""`koco user list`: list users."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output, scope_text, times
from koco.client.answers import User

#: The columns for scripts.
_FIELDS = (
    *("name", "scopes", "flows", "all_executions"),
    *("created", "by", "last_login", "last_from", "active", "email"),
)


def command(
    as_json: Annotated[bool, Option("--json", help="Print the users as JSON.")] = False,
) -> None:
    """List users.

    Shows each user's scopes and flows, and when and from where they last logged in.

    Example: koco user list
    """
    items = connection.connect().users()
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_fields(_FIELDS, items, scope_text.plain)
    elif items:
        columns = ("NAME", "SCOPES", "FLOWS", "LAST LOGIN", "FROM", "STATUS")
        rows = [_row(each) for each in items]
        # The status is shown if somebody is not active.
        shown = len(columns) - all(each.get("active", True) for each in items)
        output.print_table(columns[:shown], [row[:shown] for row in rows], widest="FLOWS")
    else:
        output.note("no users yet; `koco user create NAME` creates one")


def _row(user: User) -> tuple[str, ...]:
    last = times.ago(user["last_login"]) if user["last_login"] else "never"
    return (
        user["name"],
        ",".join(user["scopes"]),
        scope_text.flows(user),
        last,
        user["last_from"] or "-",
        "active" if user.get("active", True) else "disabled",
    )
