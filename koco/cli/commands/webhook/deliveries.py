"""`koco webhook deliveries`: show what webhooks were told."""

from typing import Annotated

from koco.cli import connection, pages
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client.answers import Delivery

#: The columns for scripts.
_NAMES: tuple[str, ...] = ("id", "webhook", "event", "fid", "status", "created", "tries", "code")
_NAMES += ("error", "next", "message")
_STYLES = {"delivered": "green", "pending": "yellow", "failed": "red"}


def command(
    name: Annotated[
        str | None,
        Argument(
            metavar="[WEBHOOK]", show_default=False, help="Only of this webhook [default: all]."
        ),
    ] = None,
    fid: Annotated[
        str | None, Option("--fid", metavar="FID", help="Only about this execution.")
    ] = None,
    status: Annotated[
        str | None,
        Option(metavar="STATUS", help="Only pending, delivered or failed ones."),
    ] = None,
    limit: Annotated[
        int, Option("--limit", min=1, metavar="N", help="The maximum number of messages.")
    ] = 50,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Show what webhooks were told and are still to be told, newest first.

    A message that its receiver does not take is sent again, for three days.

    Example: koco webhook deliveries chat --status failed
    """
    page = pages.gather(
        connection.connect().deliveries, limit, webhook=name, fid=fid, status=status
    )
    if as_json:
        output.print_json(page)
        return
    items = page["items"]
    if not output.is_terminal():
        output.print_fields(_NAMES, items, lambda value: "-" if value is None else str(value))
    elif items:
        columns = ("ID", "WHEN", "WEBHOOK", "EVENT", "FID", "STATUS", "OUTCOME")
        rows = [_row(each) for each in items]
        output.print_table(columns, rows, widest="OUTCOME", styles=_STYLES)
    pages.tell_more(page, limit)


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        str(delivery["id"]),
        times.ago(delivery["created"]),
        delivery["webhook"] or "of launch",
        delivery["event"],
        delivery["fid"] or "-",
        delivery["status"],
        _outcome(delivery),
    )


def _outcome(delivery: Delivery) -> str:
    """Return how the last attempt went, and when the next one is."""
    said = delivery["error"] or (str(delivery["code"]) if delivery["code"] else "")
    if delivery["next"] and delivery["tries"]:
        return f"{said}; attempt {delivery['tries'] + 1} {times.ahead(delivery['next'])}"
    return said or "-"
