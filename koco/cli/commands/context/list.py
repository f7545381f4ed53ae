"""`koco context list`: list contexts."""

from typing import Annotated

from koco.cli import connection, contexts
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client import context_file


def command(
    as_json: Annotated[bool, Option("--json", help="Print the contexts as JSON.")] = False,
) -> None:
    """List contexts.

    The current context is marked, with the option, variable or file that selects it.

    Example: koco context list
    """
    choice = connection.choice()
    known = list(context_file.load_contexts().values())
    if choice.by == "KOCO_URL":
        known.insert(0, connection.context())
    items = [contexts.to_json(each, choice) for each in known]
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
        output.note("no contexts yet: `koco up` creates `local`, `koco login URL` adds another")
    elif choice.name is None:
        output.note("no context is current: `koco context use NAME` selects one")
    elif not any(each["current"] for each in items):
        output.note(f"{choice.said_by} selects {choice.name!r}, which does not exist")
