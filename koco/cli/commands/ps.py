"""`koco ps`: executions."""

from typing import Annotated, Any

import typer

_STYLES = {
    "finished": "green",
    "error": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "awaiting": "magenta",
    "queued": "dim",
}


def command(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also those that have ended.")
    ] = False,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Only with this status (repeatable).")
    ] = None,
    flow: Annotated[str | None, typer.Option(metavar="FLOW", help="Only of this flow.")] = None,
    service: Annotated[
        str | None, typer.Option(metavar="SERVICE", help="Only of this service.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only launched by this key or user.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Only with this tag (repeatable: with all of them)."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only made from then on: 24h, 7d, or RFC 3339."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only made before then.")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help='Only with all these words, "phrases" or begin* in inputs, result or error.',
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List executions, newest first: those that have not ended, or all with -a.

    Who asks for a status, a time or words is shown ended ones, too.

    Example: koco ps -a --status error --limit 5
    """
    from koco.cli import connection, pages, words
    from koco.cli.terminal import output, times

    is_past = everything or bool(status or since or until or search)
    page = pages.gather(
        connection.connect().executions,
        limit,
        statuses=words.statuses(status or ()),
        flow=flow,
        service=service,
        user=user,
        tags=tag or (),
        since=times.moment(since, "--since"),
        until=times.moment(until, "--until"),
        search=search,
        active=not is_past,
    )
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)
    if not page.get("complete", True):
        output.note("older ones are still being made searchable: ask again in some minutes")
    elif not page["items"] and output.is_terminal() and not is_past:
        output.note("nothing runs; `koco ps -a` shows what has ended")


def _print(items: list[dict[str, Any]]) -> None:
    from koco.cli.terminal import output, times

    if not output.is_terminal():
        names = ("fid", "flow", "status", "created", "started", "finished", "waits", "user")
        output.print_table(names, [[item.get(name) or "-" for name in names] for item in items])
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
    # Whose they are is told where they are not all of one, and why one waits where one does; that
    # may be cut, as flows' names may where none does.
    idle = {"BY"} if len({item["user"] for item in items}) == 1 else set()
    idle |= set() if any(row[-1] for row in rows) else {"WHY"}
    shown = [place for place, column in enumerate(columns) if column not in idle]
    output.print_table(
        [columns[place] for place in shown],
        [[row[place] for place in shown] for row in rows],
        styles=_STYLES,
        widest="FLOW" if "WHY" in idle else "WHY",
    )
