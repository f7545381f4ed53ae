"""`koco webhook create`: have a URL told of executions."""

import os
from typing import Annotated

from koco.cli import arguments, connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output


def command(
    name: Annotated[str, Argument(metavar="NAME", help="A name for it.")],
    url: Annotated[str, Argument(metavar="URL", help="Where to send messages: an https URL.")],
    flows: arguments.Flows = None,
    events: Annotated[
        str | None,
        Option(
            "--on",
            metavar="STATUSES",
            help="Of what: running, awaiting, finished, error, cancelled, separated by commas"
            " [default: all but running].",
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the webhook as JSON.")] = False,
) -> None:
    """Have a URL told of executions, and print its secret.

    It is told when an execution has ended, and of each lock that waits for a person: of your
    own executions or, if you are an admin, of everybody's. The secret signs the messages, and
    is shown only once; to choose it, set KOCO_WEBHOOK_SECRET.

    Example: koco webhook create chat https://example.com/hook --on awaiting
    """
    webhook = connection.connect().create_webhook(
        name,
        url,
        flows=flows or [],
        events=split(events),
        secret=os.environ.get(arguments.WEBHOOK_SECRET, ""),
    )
    if as_json:
        output.print_json(webhook)
        return
    whose = "everybody's" if webhook["all_executions"] else "your"
    output.note(
        f"webhook {name!r} is told of {whose} executions ({', '.join(webhook['on'])});"
        " its secret is shown only once"
    )
    output.note(f"`koco webhook test {name}` tries it")
    output.print_line(webhook["secret"])


def split(events: str | None) -> list[str] | None:
    """Return the statuses in a comma-separated text, or None if it was not given."""
    return (
        None if events is None else [name for each in events.split(",") if (name := each.strip())]
    )
