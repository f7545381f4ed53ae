"""`koco schedule resume`: resume schedules."""

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
    """Resume schedules.

    They launch again from their next time on. Times that passed meanwhile are not made up for. Give
    the id of a schedule, or a flow for all of its schedules.

    Example: koco schedule resume report/daily
    """
    client = connection.connect()
    items = [each for name in names for each in client.change_schedule(name, paused=False)]
    if as_json:
        output.print_items(items)
        return
    for each in items:
        output.print_line(schedule_text.changed(each, "resumed"))
