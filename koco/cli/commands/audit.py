"""`koco audit`: show the audit log."""

from typing import Annotated, Any

from koco.cli import connection, pages
from koco.cli.parameters import Option
from koco.cli.terminal import output, times
from koco.client.answers import Entry

#: The columns for scripts.
_NAMES = ("ts", "who", "action", "target", "outcome", "address", "credential", "request", "detail")


def command(
    since: Annotated[
        str | None,
        Option(
            metavar="TIME", help="Only entries since then: an age such as 24h or 7d, or RFC 3339."
        ),
    ] = None,
    until: Annotated[str | None, Option(metavar="TIME", help="Only entries before then.")] = None,
    who: Annotated[str | None, Option(metavar="NAME", help="Only by this user or key.")] = None,
    action: Annotated[
        str | None, Option(metavar="ACTION", help="Only this action, such as launch.")
    ] = None,
    target: Annotated[
        str | None,
        Option(metavar="TARGET", help="Only on this target, or on anything below it."),
    ] = None,
    outcome: Annotated[
        str | None, Option(metavar="OUTCOME", help="Only ok, refused, or an error code.")
    ] = None,
    limit: Annotated[
        int, Option("--limit", min=1, metavar="N", help="The maximum number of entries.")
    ] = 50,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Show the audit log: who changed what, and what was refused.

    The newest entries come first. This needs a key with the scope admin.

    Example: koco audit --since 24h
    """
    page = pages.gather(
        connection.connect().audit,
        limit,
        since=times.moment(since, "--since"),
        until=times.moment(until, "--until"),
        who=who,
        action=action,
        target=target,
        outcome=outcome,
    )
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)


def _print(items: list[Entry]) -> None:
    if not output.is_terminal():
        output.print_fields(_NAMES, items, _text)
    elif items:
        rows = [
            [
                times.ago(item["ts"]),
                item["who"] or "-",
                item["action"],
                item["outcome"],
                item["address"] or "-",
                f"{item['target']} {_text(item['detail'])}".strip(" -"),
            ]
            for item in items
        ]
        columns = ("WHEN", "WHO", "ACTION", "OUTCOME", "FROM", "TARGET")
        output.print_table(columns, rows, widest="TARGET", styles={"ok": "green"})


def _text(value: Any) -> str:
    """Return a field as text; details become `name=value` pairs."""
    if isinstance(value, dict):
        value = " ".join(f"{name}={_text(each)}" for name, each in value.items())
    elif isinstance(value, list):
        value = ",".join(_text(each) for each in value)
    return str(value) or "-"
