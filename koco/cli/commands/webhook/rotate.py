"""`koco webhook rotate`: give a webhook a new secret."""

import sys
from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times


def command(
    name: Annotated[str, Argument(metavar="WEBHOOK", help="The webhook's name.")],
    grace: Annotated[
        str,
        Option(
            "--grace", metavar="TIME", help="How long the old secret signs, too, such as 24h or 0."
        ),
    ] = "24h",
    as_json: Annotated[bool, Option("--json", help="Print the webhook as JSON.")] = False,
) -> None:
    """Give a webhook a new secret, and print it.

    The secret is shown only once. For the grace period, messages are signed with both, so a
    receiver can be changed meanwhile.

    Example: koco webhook rotate chat --grace 1h
    """
    grace_s = 0.0 if grace == "0" else times.duration(grace, "--grace")
    webhook = connection.connect().rotate_webhook(name, grace_s=grace_s)
    if as_json:
        output.print_json(webhook)
        return
    output.print_line(webhook["secret"])
    over = webhook["former_until"]
    until = f"signs, too, until {times.at(over, sys.stderr)}" if over else "signs no longer"
    output.note(f"the old secret {until}")
