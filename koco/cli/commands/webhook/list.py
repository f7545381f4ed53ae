"""`koco webhook list`: list webhooks."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output, scope_text, times
from koco.client.answers import Webhook

#: The columns for scripts.
_NAMES: tuple[str, ...] = ("name", "status", "url", "on", "flows", "by", "created", "failures")
_NAMES += ("last_ok", "why")
#: How many events a webhook hears of if nobody says otherwise: all but `running`.
_USUAL = 4
_STYLES = {"failing": "yellow", "disabled": "red"}


def command(
    as_json: Annotated[bool, Option("--json", help="Print the webhooks as JSON.")] = False,
) -> None:
    """List webhooks: your own or, if you are an admin, everybody's.

    A webhook is failing if its last message was not taken, and disabled if its receiver has
    said that it is gone.

    Example: koco webhook list
    """
    items = connection.connect().webhooks()
    if as_json:
        output.print_items(items)
    elif not output.is_terminal():
        output.print_fields(_NAMES, items, scope_text.plain)
    elif not items:
        output.note("no webhooks yet; `koco webhook create NAME URL` creates one")
    else:
        columns = ("NAME", "STATUS", "ON", "FLOWS", "LAST OK", "URL")
        rows = [_row(each) for each in items]
        output.print_table(columns, rows, widest="URL", styles=_STYLES)
        for each in items:
            if each["why"]:
                output.note(f"{each['name']}: {each['why']}")


def _row(webhook: Webhook) -> tuple[str, ...]:
    last = times.ago(webhook["last_ok"]) if webhook["last_ok"] else "never"
    flows = ",".join(webhook["flows"]) or "all"
    return webhook["name"], webhook["status"], _on(webhook["on"]), flows, last, webhook["url"]


def _on(events: list[str]) -> str:
    is_usual = len(events) == _USUAL and "running" not in events
    return "all but running" if is_usual else ",".join(events)
