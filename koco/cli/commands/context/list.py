"""`koco context list`: the control planes that are known."""

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the contexts, the current one marked, with what makes it so.

    Example: koco context list
    """
    from koco.cli import connection, contexts
    from koco.cli.terminal import output
    from koco.client import context_file

    choice = connection.choice()
    known = list(context_file.load_contexts().values())
    if choice.by == "KOCO_URL":
        known.insert(0, connection.context())
    items = [contexts.wire(each, choice) for each in known]
    if as_json:
        output.print_items(items)
        return
    columns = ("", "NAME", "URL", "KEY", "CHOSEN BY")
    if not output.is_terminal():
        columns = ("current", "name", "url", "key", "chosen_by")
    rows = [
        (
            "*" if each["current"] else "",
            *(each[name] or "" for name in ("name", "url", "key", "chosen_by")),
        )
        for each in items
    ]
    if rows or not output.is_terminal():
        output.print_table(columns, rows, widest="URL")
    if not rows:
        output.note("none yet: `koco up` makes `local`, `koco login URL` makes another known")
    elif choice.name is None:
        output.note("none is current: `koco context use NAME` chooses one")
    elif not any(each["current"] for each in items):
        output.note(f"{choice.said_by} names {choice.name!r}, which is none of them")
