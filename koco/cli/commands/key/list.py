"""`koco key list`: list keys."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output, scope_text, times
from koco.client.answers import Key

#: The columns for scripts.
_NAMES: tuple[str, ...] = ("name", "status", "scopes", "flows", "all_executions", "created", "by")
_NAMES += ("expires", "last_used", "last_from")


def command(
    as_json: Annotated[bool, Option("--json", help="Print the keys as JSON.")] = False,
) -> None:
    """List API keys.

    Shows each key's scopes and flows, and when and from where it was last used.

    Example: koco key list
    """
    items = connection.connect().keys()
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_fields(_NAMES, items, scope_text.plain)
    else:
        columns = ("NAME", "SCOPES", "FLOWS", "UNTIL", "LAST USED")
        output.print_table(columns, [_row(each) for each in items], widest="FLOWS")


def _row(key: Key) -> tuple[str, ...]:
    until = times.at(key["expires"]) if key["expires"] else "-"
    until = until if key["status"] == "active" else key["status"]
    used = f"{times.ago(key['last_used'])}, {key['last_from']}" if key["last_used"] else "never"
    return key["name"], ",".join(key["scopes"]), scope_text.flows(key), until, used
