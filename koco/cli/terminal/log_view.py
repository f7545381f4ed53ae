"""Show logs that are not of executions: the control plane's, and those of runners."""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from koco.cli.exits import Exit
from koco.cli.terminal import output, times
from koco.client.answers import LogEntry, RunnerLine
from koco.client.client import Client
from koco.errors import Interrupted

_STYLES = {"WARNING": output.YELLOW, "ERROR": output.RED, "CRITICAL": output.RED, "DEBUG": "2"}
#: How many entries `--follow` begins with.
_BEFORE = 10

Kind = TypeVar("Kind", LogEntry, RunnerLine)


def show_control(
    client: Client,
    *,
    level: str | None,
    since: str | None,
    tail: int | None,
    follow: bool,
    as_json: bool,
) -> int:
    """Show the control plane's log; return the exit code.

    Raises:
        Exit: the user pressed Ctrl-C.
    """
    moment = times.moment(since, "--since")
    if follow and tail is None and since is None:
        tail = _BEFORE
    entries = client.log(level=level, since=moment, tail=tail, follow=follow)
    return _show(entries, _print, as_json=as_json)


def show_runner(
    client: Client, service: str, *, tail: int | None, follow: bool, as_json: bool
) -> int:
    """Show what a service's runners wrote outside any execution; return the exit code.

    Raises:
        Exit: the user pressed Ctrl-C.
    """
    lines = client.runner_log(service, tail=tail, follow=follow)
    return _show(lines, _print_line, as_json=as_json)


def _show(lines: Iterable[list[Kind]], draw: Callable[[Kind], None], *, as_json: bool) -> int:
    try:
        for found in lines:
            for each in found:
                if as_json:
                    output.print_ndjson(each)
                else:
                    draw(each)
            output.flush()
    except KeyboardInterrupt:
        raise Exit(Interrupted.exit_code) from None
    return 0


def _print_line(line: RunnerLine) -> None:
    """Write a runner's line, with the release and the runner before it."""
    start = output.inline(f"{line['service']}/{line['release']} {line['runner'][:6]} │")
    text = output.harmless(line["text"]) if output.is_terminal() else line["text"]
    style = output.YELLOW if line["stream"] == "stderr" else ""
    sys.stdout.write(f"{output.paint(start, output.DIM)} {output.paint(text, style)}\n")


def _print(entry: LogEntry) -> None:
    """Write an entry: its time, level and logger, its message, and the request that it is about."""
    ts = times.at(entry["ts"], is_exact=True) if output.is_terminal() else entry["ts"]
    start = output.inline(f"{ts} {entry['level']:<7} {entry['logger']}")
    first, *others = entry["message"].split("\n")
    about = f" (request {output.inline(entry['request'])})" if entry["request"] else ""
    style = _STYLES.get(entry["level"], "")
    text = "\n".join([f"{first}{about}", *(f"  {each}" for each in others)])
    shown = output.harmless(text) if output.is_terminal() else text
    sys.stdout.write(f"{output.paint(start, output.DIM)} {output.paint(shown, style)}\n")
