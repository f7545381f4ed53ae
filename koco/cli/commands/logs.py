"""`koco logs`: show or follow an execution's events."""

from typing import Annotated

import typer

from koco.cli import arguments, connection
from koco.cli.arguments import Fid
from koco.cli.terminal import event_view


def command(
    fid: Fid = "-",
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Follow until it ends; the exit code is its outcome."),
    ] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="N", min=0, help="Start with the last N events."),
    ] = None,
    since: Annotated[
        int, typer.Option(metavar="SEQ", min=0, help="Only events after this number.")
    ] = 0,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="KIND", help="Only events of this kind (repeatable)."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Show the time of each event.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one line of JSON.")
    ] = False,
) -> int:
    """Show an execution's events.

    With --follow, the exit code is the outcome: 0 finished, 1 error, 7 cancelled. Following
    survives a restart of the control plane. Ctrl-C leaves the execution running.

    Example: koco logs -f 5wzk
    """
    wanted = tuple(name for given in kinds or () for name in given.split(",") if name)
    view = event_view.View(as_json=as_json, timestamps=timestamps, kinds=wanted)
    client = connection.connect()
    fid = arguments.resolve_fid(client, fid)
    events = client.stream(fid, since=since, kinds=wanted, tail=tail, follow=follow)
    if follow:
        return event_view.EXIT_CODES[event_view.follow(events, view)]
    event_view.show(events, view)
    return 0
