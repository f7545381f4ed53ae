"""`koco usage`: count executions by flow, service, status, day or user."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from koco.cli import connection, pages, words
from koco.cli.parameters import Option
from koco.cli.terminal import output, times
from koco.client.answers import Usage
from koco.errors import UsageError
from koco.sizes import format_size

#: The columns by which executions can be grouped, in their order.
_GROUPS = ("day", "service", "flow", "user", "status")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
#: The columns for scripts, after those of the groups.
_SUMS = (
    *("executions", "duration_s", "p50_s", "p95_s", "event_bytes", "file_bytes"),
    *("wall_s", "cpu_s", "peak_memory_bytes", "ray_tasks", "stored_bytes"),
)


def command(
    by: Annotated[
        str,
        Option(metavar="GROUPS", help="Group by day, service, flow, user, status."),
    ] = "flow,status",
    since: Annotated[
        str | None,
        Option(metavar="TIME", help="Only days from then on: 7d, yesterday, or a date."),
    ] = None,
    until: Annotated[str | None, Option(metavar="TIME", help="Only days before that day.")] = None,
    flow: Annotated[str | None, Option(metavar="FLOW", help="Only of this flow.")] = None,
    user: Annotated[
        str | None, Option(metavar="NAME", help="Only launched by this user or key.")
    ] = None,
    status: Annotated[
        list[str] | None, Option(metavar="STATUS", help="Only with this status (repeatable).")
    ] = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="The maximum number of rows.")] = 1000,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Add up executions and what they used, by flow, service, day, user.

    Days are in UTC. What they used is known of those that have ended. Deleted executions stay
    counted. A key that sees only its own executions counts only these.

    Example: koco usage --by day,flow --since 7d
    """
    groups = _read_groups(by)
    page = pages.gather(
        connection.connect().usage,
        limit,
        by=",".join(groups),
        since=_day(since, "--since"),
        until=_day(until, "--until"),
        flow=flow,
        user=user,
        statuses=words.statuses(status or ()),
    )
    if as_json:
        output.print_json(page)
        return
    if output.is_terminal():
        _draw(page["items"], groups)
    else:
        output.print_fields((*groups, *_SUMS), page["items"], _text)
    pages.tell_more(page, limit)


def _read_groups(by: str) -> list[str]:
    names = [name.strip() for name in by.split(",")]
    for name in names:
        if name not in _GROUPS:
            raise UsageError(
                f"--by: executions cannot be grouped by {name!r}",
                hint=f"one or more of: {', '.join(_GROUPS)}",
            )
    return [name for name in _GROUPS if name in names]


def _day(text: str | None, option: str) -> str | None:
    """Return a time for the API. A date stays as it is, because days are in UTC."""
    return text if text and _DATE.fullmatch(text) else times.moment(text, option)


def _draw(items: list[Usage], groups: list[str]) -> None:
    if not items:
        output.note("no executions yet; `koco run FLOW` launches a flow")
        return
    rows = [
        [
            *(str(dict(item).get(name) or "-") for name in groups),
            f"{item['executions']:,}",
            times.short(item["duration_s"]),
            *(_amount(item, name, times.short) for name in ("p50_s", "p95_s", "cpu_s")),
            _amount(item, "peak_memory_bytes", format_size),
            _amount(item, "ray_tasks", "{:,}".format),
            _amount(item, "stored_bytes", format_size),
        ]
        for item in items
    ]
    sums = ("RUNS", "TIME", "P50", "P95", "CPU", "PEAK", "TASKS", "STORED")
    columns = [*(name.upper() for name in groups), *sums]
    output.print_table(columns, rows, widest="FLOW" if "flow" in groups else None)


def _amount(item: Usage, name: str, text: Callable[[Any], str]) -> str:
    """Return a sum, or `-` if there is none: older control planes do not know all of them."""
    value = dict(item).get(name)
    return "-" if value is None else text(value)


def _text(value: object) -> str:
    return "-" if value is None else str(value)
