"""`koco schedule pause`: pause schedules."""

from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.terminal import output, schedule_text


def command(
    names: Annotated[
        list[str],
        typer.Argument(metavar="SCHEDULE…", help="Ids of schedules, or flows."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Pause schedules.

    They launch nothing until they are resumed, whatever is restarted or deployed meanwhile. Times
    that pass are neither launched later nor counted as missed. Give the id of a schedule, or a flow
    for all of its schedules, also those that a later release adds.

    Example: koco schedule pause report/daily
    """
    client = connection.connect()
    items = [each for name in names for each in client.change_schedule(name, paused=True)]
    if as_json:
        output.print_items(items)
        return
    for each in items:
        output.print_line(schedule_text.changed(each, "paused"))
