"""`koco webhook test`: send a test message."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times


def command(
    name: Annotated[str, Argument(metavar="WEBHOOK", help="The webhook's name.")],
    as_json: Annotated[bool, Option("--json", help="Print the outcome as JSON.")] = False,
) -> int:
    """Send a test message to a webhook, and say how it went.

    The exit code is 1 if the receiver does not take it. If it does, a disabled webhook is
    enabled again.

    Example: koco webhook test chat
    """
    tested = connection.connect().test_webhook(name)
    if as_json:
        output.print_json(tested)
    elif tested["ok"]:
        output.print_line(f"{name}  {tested['code']} after {times.exact(tested['took_s'])}")
    else:
        output.print_line(f"{name}  failed after {times.exact(tested['took_s'])}")
        output.note(tested["error"] or "")
    return 0 if tested["ok"] else 1
