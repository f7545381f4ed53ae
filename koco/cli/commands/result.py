"""`koco result`: what an execution ended with."""

from typing import Annotated

import typer

from koco.cli import arguments
from koco.cli.arguments import Fid


def command(
    fid: Fid = "-",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {fid, status, result or error}.")
    ] = False,
) -> int:
    """Print what an execution returned; the exit code is its outcome.

    Text is printed as it is, other values as JSON. An execution that ended in
    error has its traceback on stderr.

    Example: koco result 5wzk
    """
    from koco.cli import connection
    from koco.cli.terminal import event_view, output
    from koco.errors import CancelledError, KocoError

    client = connection.connect()
    answer = client.result(arguments.meant(client, fid))
    status = answer["status"]
    if as_json:
        output.print_json(answer)
        return event_view.OUTCOMES[status]
    if status == "finished":
        event_view.print_value(answer.get("result"))
        return 0
    error = answer.get("error") or {}
    if trace := error.get("traceback"):
        output.note(trace)
    if status == "cancelled":
        raise CancelledError(f"execution {answer['fid']} was cancelled")
    raise KocoError(
        f"execution {answer['fid']} ended in error: {error.get('type')}: {error.get('message')}",
        hint=f"`koco logs {answer['fid']}` shows what led to it",
    )
