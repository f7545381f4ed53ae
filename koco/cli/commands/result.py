"""`koco result`: print an execution's result."""

from typing import Annotated

from koco.cli import arguments, connection
from koco.cli.arguments import Fid
from koco.cli.parameters import Option
from koco.cli.terminal import event_view, output
from koco.errors import CancelledError, KocoError, UsageError


def command(
    fid: Fid = "-",
    as_page: Annotated[
        bool, Option("--html", help="Print Markdown or HTML as a page of HTML.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print {fid, status, result or error}.")
    ] = False,
) -> int:
    """Print an execution's result.

    Text is printed unchanged, other values as JSON. If the execution ended in error, its
    traceback goes to stderr. The exit code is the outcome: 0 finished, 1 error, 7 cancelled.

    Example: koco result 5wzk
    """
    if as_page and as_json:
        raise UsageError("--html and --json contradict each other", hint="give one of them")
    client = connection.connect()
    answer = client.result(arguments.resolve_fid(client, fid))
    status = answer["status"]
    if as_json:
        output.print_json(answer)
        return event_view.EXIT_CODES[status]
    if status == "finished" and as_page:
        output.print_line(client.result_page(answer["fid"]))
        return 0
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
