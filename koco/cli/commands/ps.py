"""`koco ps`: list executions."""

from typing import Annotated

import typer

from koco.cli import connection, pages, selection
from koco.cli.terminal import execution_table, output
from koco.errors import UsageError


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
    columns: Annotated[
        str | None,
        typer.Option("--format", metavar="COLUMNS", help="These columns: fid,status,error, …"),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List executions, newest first.

    Ended executions are listed only with -a, or with --status, --parent, --since, --until or
    --search.

    Example: koco ps --status error --since yesterday
    """
    if as_json and (as_csv or columns):
        raise UsageError("--json has all members", hint="leave out --csv and --format")
    names = execution_table.parse(columns)
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
    if as_csv:
        execution_table.print_csv(page["items"], names)
    elif names or not output.is_terminal():
        execution_table.print_columns(page["items"], names)
    elif page["items"]:
        execution_table.draw(page["items"])
    pages.tell_more(page, limit)
    if not page.get("complete", True):
        output.note("older executions cannot be searched yet: try again in a few minutes")
    elif not page["items"] and output.is_terminal() and not includes_ended:
        output.note("nothing is running; `koco ps -a` also lists ended executions")
