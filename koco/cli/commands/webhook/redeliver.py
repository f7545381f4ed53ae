"""`koco webhook redeliver`: send messages again."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output
from koco.errors import UsageError


def command(
    wanted: Annotated[
        list[str],
        Argument(
            metavar="DELIVERY…",
            help="Ids of messages; or a webhook, for all that it was not told.",
        ),
    ],
    as_json: Annotated[bool, Option("--json", help="Print how many there are as JSON.")] = False,
) -> None:
    """Send messages to webhooks again, now.

    They keep their ids, so a receiver can tell that it has had one already.

    Example: koco webhook redeliver chat
    """
    client = connection.connect()
    if all(each.isascii() and each.isdecimal() for each in wanted):
        sent = client.redeliver([int(each) for each in wanted])
    elif len(wanted) == 1:
        sent = client.redeliver_failed(wanted[0])
    else:
        raise UsageError(
            "that is neither ids of messages nor one webhook",
            hint="`koco webhook deliveries` lists the ids",
        )
    if as_json:
        output.print_json(sent)
        return
    output.print_line(f"{sent['count']} sent again")
