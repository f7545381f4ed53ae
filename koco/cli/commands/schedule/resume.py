"""`koco schedule resume`: resume schedules."""

from typing import Annotated

from koco.cli import connection
from koco.cli.arguments import Schedules
from koco.cli.parameters import Option
from koco.cli.terminal import schedule_text


def command(
    names: Schedules,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Resume schedules.

    They launch again from their next time on. Times that passed meanwhile are not made up for. Give
    the id of a schedule, or a flow for all of its schedules.

    Example: koco schedule resume report/daily
    """
    client = connection.connect()
    items = [each for name in names for each in client.change_schedule(name, paused=False)]
    schedule_text.report(items, "resumed", as_json=as_json)
