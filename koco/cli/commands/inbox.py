"""`koco inbox`: list the locks that wait for an answer."""

from typing import Annotated

from koco.cli import connection, pages
from koco.cli.parameters import Option
from koco.cli.terminal import output, times
from koco.client.answers import Lock


def command(
    flow: Annotated[str | None, Option(metavar="FLOW", help="Only locks of this flow.")] = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="The maximum number of locks.")] = 50,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List locks that wait for a person's answer, oldest first.

    Example: koco inbox --flow approval/review
    """
    page = pages.gather(connection.connect().locks, limit, flow=flow)
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)
    if not output.is_terminal():
        return
    if page["items"]:
        output.note("`koco answer FID` answers; if a FID has several locks, `koco answer FID LOCK`")
    else:
        output.note("no lock waits for an answer")


def _print(items: list[Lock]) -> None:
    if not output.is_terminal():
        names = ("fid", "name", "lid", "flow", "created", "expires")
        output.print_fields(names, items)
        return
    if not items:
        return
    rows = [
        (
            item["fid"],
            item["name"],
            item["flow"],
            times.short(times.seconds(item["created"])),
            times.short(-times.seconds(item["expires"])),
        )
        for item in items
    ]
    columns = ("FID", "LOCK", "FLOW", "WAITING", "EXPIRES IN")
    output.print_table(columns, rows, widest="FLOW")
