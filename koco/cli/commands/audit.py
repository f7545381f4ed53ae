"""`koco audit`: the log of changes and refusals, with who caused them."""

from typing import Annotated, Any

import typer

_NAMES = ("ts", "who", "action", "target", "outcome", "address", "credential", "request", "detail")


def command(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only from then on: 24h, 7d, or RFC 3339.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before then.")] = None,
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Only by this caller.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this, such as launch.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Only on this, or what is below it.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="OUTCOME", help="Only ok, refused, or this error's code.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")
    ] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """Show who changed what, from where, and what was refused: newest first.

    Example: koco audit --since 24h
    """
    from koco.cli import connection, pages
    from koco.cli.terminal import output, times

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


def _print(items: list[dict[str, Any]]) -> None:
    from koco.cli.terminal import output, times

    if not output.is_terminal():
        output.print_table(_NAMES, [[_text(item[name]) for name in _NAMES] for item in items])
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
    """Return a field in a word or some; of details `name=value` each."""
    if isinstance(value, dict):
        value = " ".join(f"{name}={_text(each)}" for name, each in value.items())
    elif isinstance(value, list):
        value = ",".join(_text(each) for each in value)
    return str(value) or "-"
