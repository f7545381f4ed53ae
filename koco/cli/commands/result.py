"""`koco result`: print an execution's result."""

from typing import Annotated

import typer

from koco.cli import arguments, connection
from koco.cli.arguments import Fid
from koco.cli.terminal import event_view, output
from koco.errors import CancelledError, KocoError


def command(
    fid: Fid = "-",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {fid, status, result or error}.")
    ] = False,
) -> int:
    """Print an execution's result.

    Text is printed unchanged, other values as JSON. If the execution ended in error, its
    traceback goes to stderr. The exit code is the outcome: 0 finished, 1 error, 7 cancelled.

    Example: koco result 5wzk
    """
    client = connection.connect()
    answer = client.result(arguments.resolve_fid(client, fid))
    status = answer["status"]
    if as_json:
        output.print_json(answer)
        return event_view.EXIT_CODES[status]
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
        hint=f"`koco logs {answer['fid']}` shows its events",
    )
