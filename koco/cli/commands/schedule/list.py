"""`koco schedule list`: list schedules."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, schedule_text, times
from koco.client.answers import ScheduleOfFlow

_STYLES = {"paused": "yellow"}


def command(
    flow: Annotated[
        str | None,
        Argument(metavar="[FLOW]", help="Only those of this flow.", show_default=False),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List schedules, with their next and last times.

    At a terminal, times are local. What was missed or skipped since the last run is on stderr.

    Example: koco schedule list
    """
    items = connection.connect().schedules(flow)
    if as_json:
        output.print_items(items)
        return
    if not output.is_terminal():
        names = ("id", "flow", "cron", "timezone", "next", "last", "fid", "paused")
        rows = [{**each, "paused": "yes" if each.get("paused") else "no"} for each in items]
        output.print_fields(names, rows, lambda value: value or "-")
    elif items:
        columns = ("ID", "FLOW", "CRON", "ZONE", "NEXT", "LAST", "RUN")
        output.print_table(columns, [_row(each) for each in items], styles=_STYLES, widest="FLOW")
    else:
        output.note("no schedules; `schedule:` in a manifest sets them")
    for each in items:
        for text in schedule_text.troubles(each):
            output.note(f"{each['id']} {each['flow']}: {text}")
        if paused := each.get("paused"):
            output.note(f"{each['id']} {each['flow']}: {schedule_text.pause(paused)}")


def _row(each: ScheduleOfFlow) -> list[str]:
    following = times.at(each["next"]) if each["next"] else "-"
    return [
        each["id"],
        each["flow"],
        each["cron"],
        each["timezone"],
        "paused" if each.get("paused") else following,
        times.at(each["last"]) if each["last"] else "-",
        each["fid"] or "-",
    ]
