"""`koco wait`: wait until executions have ended."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Annotated

import typer

from koco.cli import approvals, arguments, connection
from koco.cli.approvals import OnLock
from koco.cli.inputs import prompt
from koco.cli.terminal import event_view, output, times
from koco.client.client import Client
from koco.errors import TimedOutError

#: The final statuses, the worst one last.
_SEVERITY = ("finished", "cancelled", "error")


def command(
    fids: Annotated[
        list[str],
        typer.Argument(
            metavar="FID…", help="The executions: fids, unique starts of them, or SERVICE/FLOW."
        ),
    ],
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop waiting after this time.")
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each execution as one line of JSON.")
    ] = False,
) -> int:
    """Wait until executions have ended, and print their statuses.

    The exit code is the worst outcome: 1 if one ended in error, else 7 if one was cancelled,
    else 0. With --no-input it is 8 as soon as one waits for a person's answer.

    Example: koco wait 5wzk 7qpa --timeout 600
    """
    times.check(timeout)
    client = connection.connect()
    # Look up all of them first, so that a typing error is reported now and not after an hour.
    names = [str(client.execution(arguments.resolve_fid(client, fid))["fid"]) for fid in fids]
    ended: list[str] = []

    def late() -> TimedOutError:
        missing = ", ".join(names[len(ended) :])
        return TimedOutError(
            f"not ended within {timeout:g} s: {missing}", hint="the executions go on"
        )

    with times.limit(timeout, late):
        for fid, status in _wait(client, names, no_input=no_input):
            ended.append(status)
            if as_json:
                output.print_ndjson(client.execution(fid))
            else:
                output.print_line(f"{fid}\t{ended[-1]}")
                output.flush()
    return event_view.EXIT_CODES[max(ended, key=_SEVERITY.index)]


def _wait(client: Client, fids: list[str], *, no_input: bool) -> Iterator[tuple[str, str]]:
    """Yield each execution with its final status, in the order given."""
    if no_input and len(fids) > 1:
        yield from _wait_in_threads(fids)
        return
    on_lock = approvals.refuse_locks if no_input else approvals.report_locks
    for fid in fids:
        yield fid, _wait_for(client, fid, on_lock(client, fid))


def _wait_for(client: Client, fid: str, on_lock: OnLock) -> str:
    # The stream of its status changes ends with it, so no polling is needed.
    events = client.stream(fid, kinds=("status",), follow=True)
    return event_view.follow(events, None, on_lock=on_lock)


def _wait_in_threads(fids: list[str]) -> Iterator[tuple[str, str]]:
    """Do the same in threads, so that an error of any of them is raised at once."""
    outcomes: SimpleQueue[tuple[str, str | BaseException]] = SimpleQueue()

    def watch(fid: str) -> None:
        client = connection.connect()
        try:
            outcomes.put((fid, _wait_for(client, fid, approvals.refuse_locks(client, fid))))
        except BaseException as exc:  # noqa: BLE001 - raised in the main thread
            outcomes.put((fid, exc))

    for fid in fids:
        Thread(target=watch, args=(fid,), daemon=True).start()
    ended: dict[str, str] = {}
    for fid in fids:
        while fid not in ended:
            name, outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            ended[name] = outcome
        yield fid, ended[fid]
