"""`koco key list`: which keys there are."""

from typing import Annotated, Any

import typer

#: The columns for scripts.
_NAMES: tuple[str, ...] = ("name", "status", "scopes", "flows", "all_executions", "created", "by")
_NAMES += ("expires", "last_used", "last_from")


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List keys by name: what each is good for, and when and from where it was last used.

    Example: koco key list
    """
    from koco.cli import connection
    from koco.cli.terminal import output, scope_text

    items = connection.connect().keys()
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_table(
            _NAMES, [[scope_text.plain(each[name]) for name in _NAMES] for each in items]
        )
    else:
        columns = ("NAME", "SCOPES", "FLOWS", "UNTIL", "LAST USED")
        output.print_table(columns, [_row(each) for each in items], widest="FLOWS")


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    from koco.cli.terminal import scope_text, times

    until = times.at(key["expires"]) if key["expires"] else "-"
    until = until if key["status"] == "active" else key["status"]
    used = f"{times.ago(key['last_used'])}, {key['last_from']}" if key["last_used"] else "never"
    return key["name"], ",".join(key["scopes"]), scope_text.flows(key), until, used
