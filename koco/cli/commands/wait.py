"""`koco wait`: until executions have ended."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from koco.cli.inputs import prompt

if TYPE_CHECKING:
    from koco.cli.approvals import OnLock
    from koco.client.client import Client

#: Final statuses, the worst last.
_SEVERITY = ("finished", "cancelled", "error")


def command(
    fids: Annotated[
        list[str],
        typer.Argument(
            metavar="FID…", help="The executions: fids, unique prefixes, or SERVICE/FLOW."
        ),
    ],
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait no longer than that, for all.")
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help=prompt.NO_INPUT)] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each execution as one line of JSON.")
    ] = False,
) -> int:
    """Wait until executions have ended; print each with its status.

    The exit code is the worst outcome: 1 if one ended in error, else 7 if one
    was cancelled, else 0. With --no-input it is 8 as soon as one awaits a person.

    Example: koco wait 5wzk 7qpa --timeout 600
    """
    from koco.cli import arguments, connection
    from koco.cli.terminal import event_view, output, times
    from koco.errors import TimedOutError

    times.check(timeout)
    client = connection.connect()
    # All are looked up first: a mistyped one is told of now, not after an hour.
    names = [str(client.execution(arguments.meant(client, fid))["fid"]) for fid in fids]
    ended: list[str] = []

    def late() -> TimedOutError:
        missing = ", ".join(names[len(ended) :])
        return TimedOutError(f"not ended within {timeout:g} s: {missing}", hint="they go on")

    with times.limit(timeout, late):
        for fid, status in _ends(client, names, no_input=no_input):
            ended.append(status)
            if as_json:
                output.print_ndjson(client.execution(fid))
            else:
                output.print_line(f"{fid}\t{ended[-1]}")
                output.flush()
    return event_view.OUTCOMES[max(ended, key=_SEVERITY.index)]


def _ends(client: "Client", fids: list[str], *, no_input: bool) -> Iterator[tuple[str, str]]:
    """Yield each execution with its final status, in the order given."""
    from koco.cli import approvals

    if no_input and len(fids) > 1:
        yield from _at_once(fids)
        return
    on_lock = approvals.refusing if no_input else approvals.noting
    for fid in fids:
        yield fid, _end(client, fid, on_lock(client, fid))


def _end(client: "Client", fid: str, on_lock: "OnLock") -> str:
    from koco.cli.terminal import event_view

    # Its stream of status changes ends with it: nobody polls.
    events = client.stream(fid, kinds=("status",), follow=True)
    return event_view.follow(events, None, on_lock=on_lock)


def _at_once(fids: list[str]) -> Iterator[tuple[str, str]]:
    """Do the same, and raise what any of them raises at once: the last may be the first to ask."""
    from koco.cli import approvals, connection

    told: SimpleQueue[tuple[str, str | BaseException]] = SimpleQueue()

    def watch(fid: str) -> None:
        client = connection.connect()
        try:
            told.put((fid, _end(client, fid, approvals.refusing(client, fid))))
        except BaseException as exc:  # noqa: BLE001 - raised by the one who waits
            told.put((fid, exc))

    for fid in fids:
        Thread(target=watch, args=(fid,), daemon=True).start()
    ended: dict[str, str] = {}
    for fid in fids:
        while fid not in ended:
            name, outcome = told.get()
            if isinstance(outcome, BaseException):
                raise outcome
            ended[name] = outcome
        yield fid, ended[fid]
