"""`koco inbox`: what waits for a person."""

from typing import Annotated, Any

import typer


def command(
    flow: Annotated[str | None, typer.Option(metavar="FLOW", help="Only of this flow.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List what waits for a person's answer, the oldest first.

    Example: koco inbox --flow approval/review
    """
    from koco.cli import connection, pages
    from koco.cli.terminal import output

    page = pages.gather(connection.connect().locks, limit, flow=flow)
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)
    if not output.is_terminal():
        return
    if page["items"]:
        output.note(
            "`koco answer FID` answers; where several of a FID wait, `koco answer FID LOCK`"
        )
    else:
        output.note("nothing waits for a person")


def _print(items: list[dict[str, Any]]) -> None:
    from koco.cli.terminal import output, times

    if not output.is_terminal():
        names = ("fid", "name", "lid", "flow", "created", "expires")
        output.print_table(names, [[item[name] for name in names] for item in items])
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
