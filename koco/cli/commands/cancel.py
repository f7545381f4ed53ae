"""`koco cancel`: cancel an execution."""

from typing import Annotated

import typer

from koco.cli import connection
from koco.cli.terminal import event_view, output
from koco.events.model import FINAL


def command(
    fid: Annotated[
        str,
        typer.Argument(
            metavar="FID", help="The execution: its fid, or the start of it if that is unique."
        ),
    ],
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="How long it may take to end before it is killed."
        ),
    ] = 5.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the execution as JSON.")] = False,
) -> int:
    """Cancel an execution.

    Its task is cancelled as asyncio does it, and its process is killed if it has not ended
    after the grace period. With --wait, the exit code is 0 once it has ended, whatever its
    final status. Prints the fid and the status.

    Example: koco cancel 5wzk --grace 30 --wait
    """
    client = connection.connect()
    execution = client.cancel(fid, grace_s=grace)
    if wait:
        event_view.follow(client.stream(execution["fid"], kinds=("status",), follow=True), None)
        execution = client.execution(execution["fid"])
    if as_json:
        output.print_json(execution)
    else:
        output.print_line(f"{execution['fid']}\t{execution['status']}")
    if not as_json and execution["status"] not in FINAL:
        output.note(f"it has {grace:g} s to end before it is killed")
    return 0
