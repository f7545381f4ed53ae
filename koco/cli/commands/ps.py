"""`koco ps`: list executions."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from koco.cli import connection, pages, selection
from koco.cli.arguments import Contexts
from koco.cli.parameters import Option
from koco.cli.terminal import execution_table, output
from koco.client.answers import Execution, Executions
from koco.errors import UsageError

if TYPE_CHECKING:
    from koco.cli.live.watch import Show


def command(
    everything: Annotated[bool, Option("--all", "-a", help="Also ended executions.")] = False,
    status: selection.Status = None,
    flow: selection.Flow = None,
    service: selection.Service = None,
    user: selection.User = None,
    tag: selection.Tag = None,
    parent: Annotated[
        str | None,
        Option(metavar="FID", help="Only launched by this execution, ended or not."),
    ] = None,
    since: selection.Since = None,
    until: selection.Until = None,
    search: Annotated[
        str | None,
        Option(
            metavar="WORDS",
            help='Only with all these words, "phrases" or prefix* in inputs, result or error.',
        ),
    ] = None,
    limit: Annotated[
        int, Option(min=1, metavar="N", help="The maximum number of executions.")
    ] = 50,
    columns: Annotated[
        str | None,
        Option("--format", metavar="COLUMNS", help="These columns: fid,status,error, …"),
    ] = None,
    watch: Annotated[
        bool,
        Option("--watch", "-w", help="Stay, and show what changes, until Ctrl-C."),
    ] = False,
    contexts: Contexts = None,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV with a header.")] = False,
    as_json: Annotated[
        bool,
        Option("--json", help="Print {items, next} as JSON; a line for each with --watch."),
    ] = False,
) -> None:
    """List executions, newest first.

    Ended executions are listed only with -a, or with --status, --parent, --since, --until or
    --search.

    Example: koco ps --status error --since yesterday
    """
    if as_json and (as_csv or columns):
        raise UsageError("--json has all members", hint="leave out --csv and --format")
    names = execution_table.parse(columns)
    if watch and contexts is not None:
        raise UsageError(
            "--watch shows one control plane", hint="`koco --context NAME ps --watch` for each"
        )
    if watch and as_csv:
        raise UsageError("--csv is a whole list", hint="`--watch --json` prints a line for each")
    includes_ended = everything or bool(status or parent or since or until or search)
    filters = {
        **selection.make_filters(status, flow, service, user, tag, since, until),
        **{"search": search, "parent": parent, "active": not includes_ended},
    }
    show = functools.partial(_show, names=names)
    if watch:
        _watch(filters, limit, show, as_json=as_json)
    if contexts is not None:
        _list_several(contexts, filters, limit, names, as_csv=as_csv, as_json=as_json)
        return
    page = pages.gather(connection.connect().executions, limit, **filters)
    if as_json:
        output.print_json(page)
        return
    _print(page["items"], names, as_csv=as_csv)
    _tell(page, limit, includes_ended=includes_ended)


def _list_several(
    contexts: str,
    filters: dict[str, Any],
    limit: int,
    names: Sequence[str] | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    # A list of one control plane needs none of this.
    from koco.cli.across import executions, places

    found = executions.gather(places.named(contexts), limit, filters)
    if as_json:
        output.print_json(found.to_json())
    else:
        if names is None and (as_csv or not output.is_terminal()):
            names = ("context", *execution_table.PLAIN)
        _print(found.page["items"], names, as_csv=as_csv)
        is_partial = any(each.error is not None for each in found.answers)
        _tell(found.page, limit, includes_ended=is_partial or not filters["active"])
    places.check(found.answers)


def _print(items: Sequence[Execution], names: Sequence[str] | None, *, as_csv: bool) -> None:
    if as_csv:
        execution_table.print_csv(items, names)
    else:
        _show(items, names)


def _tell(page: Executions, limit: int, *, includes_ended: bool) -> None:
    """Tell what the list does not show."""
    pages.tell_more(page, limit)
    if not page.get("complete", True):
        output.note("older executions cannot be searched yet: try again in a few minutes")
    elif not page["items"] and output.is_terminal() and not includes_ended:
        output.note("nothing is running; `koco ps -a` also lists ended executions")


def _show(items: Sequence[Execution], names: Sequence[str] | None) -> None:
    if names or not output.is_terminal():
        execution_table.print_columns(items, names)
    elif items:
        execution_table.draw(items)


def _watch(filters: dict[str, Any], limit: int, show: "Show", *, as_json: bool) -> NoReturn:
    # Only a list that stays needs them.
    from koco.cli.live.feed import Feed
    from koco.cli.live.listing import Listing
    from koco.cli.live.watch import draw, print_changes

    connection.connect().changes(since="now")  # whether it is there at all
    connect = functools.partial(connection.connect, away_s=0.0)
    client, feed = connect(), Feed(connect)
    feed.start()
    ask = functools.partial(pages.gather, client.executions, limit, **filters)
    if output.is_terminal() and not as_json:
        draw(Listing(ask), feed, show)
    print_changes(Listing(ask, client=client), feed, show, as_json=as_json)
