"""`koco webhook remove`: remove a webhook."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="WEBHOOK", help="The webhook's name.")],
    as_json: Annotated[
        bool, Option("--json", help="Print the webhook's last state as JSON.")
    ] = False,
) -> None:
    """Remove a webhook, with its log and what it has not been told yet.

    Example: koco webhook remove chat
    """
    webhook = connection.connect().remove_webhook(name)
    if as_json:
        output.print_json(webhook)
        return
    output.print_line(f"{name}  removed")
