"""`koco wait`: wait until executions have ended, or have another status."""

from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Annotated

from koco.cli import approvals, arguments, connection, words
from koco.cli.approvals import OnLock
from koco.cli.inputs import prompt
from koco.cli.many import statuses
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import event_view, notify, output, times
from koco.client.answers import Execution
from koco.client.client import Client
from koco.errors import ConflictError, TimedOutError, UsageError
from koco.events.model import FINAL, Status


def command(
    fids: Annotated[
        list[str],
        Argument(
            metavar="FID…", help="The executions: fids, unique starts of them, or SERVICE/FLOW."
        ),
    ],
    first: Annotated[
        bool, Option("--any", help="Until one of them has ended, and not all.")
    ] = False,
    until: Annotated[
        list[str] | None,
        Option(
            metavar="STATUS", help="Until they have this status, such as awaiting (repeatable)."
        ),
    ] = None,
    timeout: Annotated[
        float | None, Option(metavar="SECONDS", help="Stop waiting after this time.")
    ] = None,
    no_input: Annotated[bool, Option("--no-input", help=prompt.NO_INPUT)] = False,
    notifies: Annotated[
        bool, Option("--notify", help="Ring the terminal's bell then, and tell the desktop.")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="Print each execution as one line of JSON.")
    ] = False,
) -> int:
    """Wait until executions have ended, and print their statuses.

    The exit code is the worst outcome: 1 if one ended in error, else 7 if one was cancelled,
    else 0. With --no-input it is 8 as soon as one waits for a person's answer.

    With --any, the first one that ends decides. With --until, the exit code is 0 once they
    have that status; one that ends without it counts as above, or as 2 if it finished.

    Example: koco wait 5wzk 7qpa --timeout 600
    """
    times.check(timeout)
    wanted = _wanted(until)
    client = connection.connect()
    # Look up all of them first, so that a typing error is reported now and not after an hour.
    found = [client.execution(arguments.resolve_fid(client, fid)) for fid in fids]
    names = list(dict.fromkeys(str(each["fid"]) for each in found))
    ended: dict[str, str] = {}

    def late() -> TimedOutError:
        missing = ", ".join(name for name in names if name not in ended)
        what = f"not {' or '.join(wanted)}" if until else "not ended"
        return TimedOutError(f"{what} within {timeout:g} s: {missing}", hint="the executions go on")

    if first or until:
        looked = {str(each["fid"]): each for each in found}
        results = _wait_until(client, looked, wanted, first=first, no_input=no_input)
    else:
        results = _wait(client, names, no_input=no_input)
    with times.limit(timeout, late):
        for fid, status in results:
            ended[fid] = status
            if as_json:
                output.print_ndjson(client.execution(fid))
            else:
                output.print_line(f"{fid}\t{status}")
                output.flush()
    if notifies:
        notify.notify("koco", ", ".join(f"{fid}: {status}" for fid, status in ended.items()))
    return _exit_code(ended, wanted if until else ())


def _wanted(until: Sequence[str] | None) -> tuple[str, ...]:
    """Return the statuses to wait for: the final ones unless others are named."""
    wanted = tuple(words.statuses(until or ())) or tuple(sorted(FINAL))
    for name in wanted:
        if name not in set(Status):
            hint = f"one of: {', '.join(Status)}"
            raise UsageError(f"no status is called {output.inline(name)!r}", hint=hint)
    return wanted


def _exit_code(ended: Mapping[str, str], until: Sequence[str]) -> int:
    """Return the exit code: of those that have not the status that was waited for, if one was.

    Raises:
        ConflictError: one finished without it.
    """
    if not until:
        return event_view.worst(ended.values())
    missed = {fid: status for fid, status in ended.items() if status not in until}
    if code := event_view.worst(missed.values()) if missed else 0:
        return code
    if missed:
        raise ConflictError(f"finished without being {' or '.join(until)}: {', '.join(missed)}")
    return 0


def _wait_until(
    client: Client,
    executions: Mapping[str, Execution],
    wanted: Sequence[str],
    *,
    first: bool,
    no_input: bool,
) -> Iterator[tuple[str, str]]:
    """Yield executions that have a wanted status or have ended; only the first of them if `first`.

    With `first`, one that ends without it is passed over as long as another one may have it.
    """
    on_lock = approvals.refuse_locks if no_input else approvals.report_locks
    left = set(executions)
    passed: list[tuple[str, str]] = []
    try:
        for fid, status in statuses.follow(client, executions):
            if fid not in left:
                continue
            if status in wanted:
                yield fid, status
                if first:
                    return
                left.discard(fid)
            elif status in FINAL:
                left.discard(fid)
                if first and left:
                    passed.append((fid, status))
                    continue
                yield from (*passed, (fid, status))
                passed = []
            elif status == Status.AWAITING:
                on_lock(client, fid)()
            if not left:
                return
    except KeyboardInterrupt:
        raise event_view.interrupted("the executions go on") from None


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
