"""`koco cancel`: end an execution."""

from typing import Annotated

import typer


def command(
    fid: Annotated[
        str, typer.Argument(metavar="FID", help="The execution: its fid or a unique prefix.")
    ],
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="How long it may take over ending before it is killed."
        ),
    ] = 5.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the execution as JSON.")] = False,
) -> int:
    """Ask an execution to end; print its fid and status.

    It is cancelled as asyncio cancels, and killed if it has not ended after the
    grace period. With --wait the exit code is 0 once it has ended, however.

    Example: koco cancel 5wzk --grace 30 --wait
    """
    from koco.cli import connection
    from koco.cli.terminal import event_view, output

    client = connection.connect()
    execution = client.cancel(fid, grace_s=grace)
    if wait:
        event_view.follow(client.stream(execution["fid"], kinds=("status",), follow=True), None)
        execution = client.execution(execution["fid"])
    if as_json:
        output.print_json(execution)
    else:
        output.print_line(f"{execution['fid']}\t{execution['status']}")
    if not as_json and execution["status"] not in event_view.OUTCOMES:
        output.note(f"it ends within {grace:g} s, or is killed")
    return 0
