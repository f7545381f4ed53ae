"""`koco ps`: list executions."""

from typing import Annotated

import typer

from koco.cli import connection, pages, selection
from koco.cli.terminal import output, times
from koco.client.answers import Execution

_STYLES = {
    "finished": "green",
    "error": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "awaiting": "magenta",
    "sleeping": "blue",
    "queued": "dim",
}


def command(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also ended executions.")] = False,
    status: selection.Status = None,
    flow: selection.Flow = None,
    service: selection.Service = None,
    user: selection.User = None,
    tag: selection.Tag = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="FID", help="Only launched by this execution, ended or not."),
    ] = None,
    since: selection.Since = None,
    until: selection.Until = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help='Only with all these words, "phrases" or prefix* in inputs, result or error.',
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="The maximum number of executions.")
    ] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List executions, newest first.

    Ended executions are listed only with -a, or with --status, --parent, --since, --until or
    --search.

    Example: koco ps -a --status error --limit 5
    """
    includes_ended = everything or bool(status or parent or since or until or search)
    page = pages.gather(
        connection.connect().executions,
        limit,
        **selection.make_filters(status, flow, service, user, tag, since, until),
        search=search,
        parent=parent,
        active=not includes_ended,
    )
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)
    if not page.get("complete", True):
        output.note("older executions cannot be searched yet: try again in a few minutes")
    elif not page["items"] and output.is_terminal() and not includes_ended:
        output.note("nothing is running; `koco ps -a` also lists ended executions")


def _print(items: list[Execution]) -> None:
    if not output.is_terminal():
        names = ("fid", "flow", "status", "created", "started", "finished", "waits", "user")
        output.print_fields(names, items, lambda value: value or "-")
        return
    if not items:
        return
    rows = [
        [
            item["fid"],
            item["flow"],
            item["status"],
            times.ago(item["created"]),
            times.short(times.seconds(item["started"], item["finished"]))
            if item["started"]
            else "-",
            item["user"],
            item.get("waits") or "",
        ]
        for item in items
    ]
    columns = ("FID", "FLOW", "STATUS", "CREATED", "TOOK", "BY", "WHY")
    # BY is shown if the executions are not all of one user, WHY if one of them waits. WHY may be
    # cut to fit the terminal; without it, flows' names may.
    hidden = {"BY"} if len({item["user"] for item in items}) == 1 else set()
    hidden |= set() if any(row[-1] for row in rows) else {"WHY"}
    shown = [place for place, column in enumerate(columns) if column not in hidden]
    output.print_table(
        [columns[place] for place in shown],
        [[row[place] for place in shown] for row in rows],
        styles=_STYLES,
        widest="FLOW" if "WHY" in hidden else "WHY",
    )
