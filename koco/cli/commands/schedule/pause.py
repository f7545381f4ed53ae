"""`koco schedule pause`: pause schedules."""

from typing import Annotated

from koco.cli import connection
from koco.cli.arguments import Schedules
from koco.cli.parameters import Option
from koco.cli.terminal import schedule_text


def command(
    names: Schedules,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Pause schedules.

    They launch nothing until they are resumed, whatever is restarted or deployed meanwhile. Times
    that pass are neither launched later nor counted as missed. Give the id of a schedule, or a flow
    for all of its schedules, also those that a later release adds.

    Example: koco schedule pause report/daily
    """
    client = connection.connect()
    items = [each for name in names for each in client.change_schedule(name, paused=True)]
    schedule_text.report(items, "paused", as_json=as_json)
