"""`koco logs`: show or follow the events of executions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from koco.cli import arguments, connection, selection
from koco.cli.parameters import Argument, Option
from koco.cli.selection import Filters
from koco.cli.terminal import event_view
from koco.cli.terminal.event_view import View
from koco.client.client import Client, Stream
from koco.errors import UsageError
from koco.events.model import FINAL


def command(
    fids: Annotated[
        list[str] | None,
        Argument(
            metavar="[FID…]",
            show_default=False,
            help="The executions: fids, or SERVICE/FLOW for its latest [default: latest of all].",
        ),
    ] = None,
    follow: Annotated[
        bool,
        Option("--follow", "-f", help="Follow until it ends; the exit code is its outcome."),
    ] = False,
    status: selection.Status = None,
    flow: selection.Flow = None,
    service: selection.Service = None,
    user: selection.User = None,
    tag: selection.Tag = None,
    since: Annotated[
        str | None,
        Option(
            metavar="TIME|SEQ",
            help="Executions created since then (24h, yesterday); of one FID: events after SEQ.",
        ),
    ] = None,
    until: selection.Until = None,
    everything: Annotated[
        bool, Option("--all", "-a", help="All executions that you may see.")
    ] = False,
    search: Annotated[
        str | None,
        Option(metavar="TEXT", help="Only events that contain this text, in any case."),
    ] = None,
    tail: Annotated[
        int | None,
        Option("--tail", "-n", metavar="N", min=0, help="Start with the last N events."),
    ] = None,
    control: Annotated[
        bool, Option("--control", help="The control plane's own log instead (admins).")
    ] = False,
    level: Annotated[
        str | None,
        Option(metavar="LEVEL", help="With --control: info, warning or error, and worse."),
    ] = None,
    runner: Annotated[
        str | None,
        Option(metavar="SERVICE", help="What this service's processes wrote outside executions."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        Option("--kind", "-k", metavar="KIND", help="Only events of this kind (repeatable)."),
    ] = None,
    children: Annotated[
        bool,
        Option("--children", help="Also of the executions that it launches, as they come."),
    ] = False,
    timestamps: Annotated[
        bool, Option("--timestamps", "-t", help="Show the time of each event.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print each event as one line of JSON.")
    ] = False,
) -> int:
    """Show the events of executions.

    With --follow, the exit code is the outcome: 0 finished, 1 error, 7 cancelled. Following
    survives a restart of the control plane. Ctrl-C leaves the execution running. With
    --children, each line of another execution begins with its fid and flow.

    With several FIDs, or with filters such as --service, the events of all these executions are
    one stream, and each line begins with flow and fid. With -f, filters show what has not
    ended and whatever comes to match, until Ctrl-C.

    With --control, it is the log of the control plane itself; with --runner, what a service's
    processes have written on import, or after an execution.

    Example: koco logs -f --service hymn --search timeout
    """
    names = list(fids or ())
    if control or level or runner:
        others = (names, status, flow, service, user, tag, until, everything, search, kinds)
        has_others = any((*others, children, control and runner))
        _check_log(is_log=control or bool(runner), others=has_others)
        from koco.cli.terminal import log_view  # executions do not need it

        if runner:
            if level or since:
                raise UsageError("--runner takes --follow, --tail and --json")
            return log_view.show_runner(
                connection.connect(), runner, tail=tail, follow=follow, as_json=as_json
            )
        return log_view.show_control(
            connection.connect(),
            level=level,
            since=since,
            tail=tail,
            follow=follow,
            as_json=as_json,
        )
    wanted = tuple(name for given in kinds or () for name in given.split(",") if name)
    view = View(as_json=as_json, timestamps=timestamps, kinds=wanted)
    is_seq = since is not None and since.isascii() and since.isdecimal()
    time = None if is_seq else since
    given = (status, flow, service, user, tag, time, until)
    is_filtered = any(given) or everything or (search is not None and not names)
    filters = selection.make_filters(*given) if is_filtered else None
    if len(names) > 1 or filters is not None or search is not None:
        _check_many(names, filters, search=search, children=children, is_seq=is_seq)
        return _show_many(names, filters, view, search=search, tail=tail, follow=follow)
    client = connection.connect()
    fid = arguments.resolve_fid(client, names[0] if names else "-")
    seq = int(since) if since and is_seq else 0
    if children:
        return _show_family(client, fid, view, since=seq, tail=tail, follow=follow)
    events = client.stream(fid, since=seq, kinds=wanted, tail=tail, follow=follow)
    if follow:
        return event_view.EXIT_CODES[event_view.follow(events, view)]
    event_view.show(events, view)
    return 0


def _check_log(*, is_log: bool, others: bool) -> None:
    if not is_log:
        raise UsageError("--level is for --control")
    if others:
        raise UsageError(
            "--control and --runner show a log each, and no executions",
            hint="they take --follow, --tail and --json; --control also --level and --since",
        )


def _check_many(
    names: Sequence[str],
    filters: Filters | None,
    *,
    search: str | None,
    children: bool,
    is_seq: bool,
) -> None:
    if names and filters is not None:
        hint = "give either fids or filters; of one FID, --since is the number of an event"
        raise UsageError("fids and filters contradict each other", hint=hint)
    if children:
        raise UsageError("--children is for one execution", hint="name it, without filters")
    if search == "":
        raise UsageError("--search needs a text")
    if is_seq:
        raise UsageError("--since with a number is for one execution", hint="a time, such as 1h")


def _show_many(
    names: Sequence[str],
    filters: Filters | None,
    view: View,
    *,
    search: str | None,
    tail: int | None,
    follow: bool,
) -> int:
    """Show the events of several executions as one stream."""
    from koco.cli.terminal import many_view  # one execution does not need it

    client = connection.connect()
    resolved = [arguments.resolve_fid(client, name) for name in names]
    others: Mapping[str, Any] = filters or {}
    stream = client.stream_many(
        resolved, kinds=view.kinds, contains=search, tail=tail, follow=follow, **others
    )
    if not follow:
        many_view.show(stream, view)
        return 0
    many_view.follow(stream, view)
    if not resolved:
        return 0
    return event_view.worst(str(client.execution(fid)["status"]) for fid in resolved)


def _show_family(
    client: Client, fid: str, view: View, *, since: int, tail: int | None, follow: bool
) -> int:
    """Show an execution's events together with those of the executions that it launches."""
    from koco.cli.terminal import family_view  # threads, which one execution does not need

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
