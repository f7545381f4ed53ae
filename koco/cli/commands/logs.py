"""`koco logs`: show or follow an execution's events."""

from typing import Annotated

import typer

from koco.cli import arguments, connection
from koco.cli.arguments import Fid
from koco.cli.terminal import event_view, family_view
from koco.cli.terminal.event_view import View
from koco.client.client import Client, Stream
from koco.events.model import FINAL


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
    children: Annotated[
        bool,
        typer.Option("--children", help="Also of the executions that it launches, as they come."),
    ] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Show the time of each event.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one line of JSON.")
    ] = False,
) -> int:
    """Show an execution's events.

    With --follow, the exit code is the outcome: 0 finished, 1 error, 7 cancelled. Following
    survives a restart of the control plane. Ctrl-C leaves the execution running. With
    --children, each line of another execution begins with its fid and flow.

    Example: koco logs -f 5wzk
    """
    wanted = tuple(name for given in kinds or () for name in given.split(",") if name)
    view = View(as_json=as_json, timestamps=timestamps, kinds=wanted)
    client = connection.connect()
    fid = arguments.resolve_fid(client, fid)
    if children:
        return _show_family(client, fid, view, since=since, tail=tail, follow=follow)
    events = client.stream(fid, since=since, kinds=wanted, tail=tail, follow=follow)
    if follow:
        return event_view.EXIT_CODES[event_view.follow(events, view)]
    event_view.show(events, view)
    return 0


def _show_family(
    client: Client, fid: str, view: View, *, since: int, tail: int | None, follow: bool
) -> int:
    """Show an execution's events together with those of the executions that it launches."""
    kinds = tuple({*view.kinds, *family_view.KINDS}) if view.kinds else ()
    if tail == 0:
        since, tail = client.execution(fid)["last_seq"], None

    def open_stream(child: str, since: int, follows: bool) -> Stream:
        # Those that are followed are read in threads, so each has a client of its own.
        its = connection.connect() if follows else client
        return its.stream(child, since=since, kinds=kinds, follow=follows)

    root = client.stream(fid, since=since, kinds=kinds, tail=tail)
    if not follow:
        family_view.show(root, open_stream, view)
        return 0

    def is_final(child: str) -> bool:
        return client.execution(child)["status"] in FINAL

    return event_view.EXIT_CODES[family_view.follow(root, open_stream, view, is_final=is_final)]
