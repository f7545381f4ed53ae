"""`koco logs`: what an execution did, so far or until it ends."""

from typing import Annotated

import typer

from koco.cli import arguments
from koco.cli.arguments import Fid


def command(
    fid: Fid = "-",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it ends; exit with its outcome.")
    ] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="N", min=0, help="Begin with the last N events."),
    ] = None,
    since: Annotated[
        int, typer.Option(metavar="SEQ", min=0, help="Only events after that number.")
    ] = 0,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="KIND", help="Only events of that kind; repeatable."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Put each event's time in front.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one line of JSON.")
    ] = False,
) -> int:
    """Show an execution's events.

    Following survives a restart of the control plane, ends when the execution
    does, and exits with its outcome: 0 finished, 1 error, 7 cancelled. Ctrl-C
    leaves the execution running.

    Example: koco logs -f 5wzk
    """
    from koco.cli import connection
    from koco.cli.terminal import event_view

    wanted = tuple(name for given in kinds or () for name in given.split(",") if name)
    view = event_view.View(as_json=as_json, timestamps=timestamps, kinds=wanted)
    client = connection.connect()
    fid = arguments.meant(client, fid)
    events = client.stream(fid, since=since, kinds=wanted, tail=tail, follow=follow)
    if follow:
        return event_view.OUTCOMES[event_view.follow(events, view)]
    event_view.show(events, view)
    return 0
