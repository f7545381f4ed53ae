"""Show the control plane's own log."""

import sys

import typer

from koco.cli.terminal import output, times
from koco.client.answers import LogEntry
from koco.client.client import Client
from koco.errors import Interrupted

_STYLES = {"WARNING": output.YELLOW, "ERROR": output.RED, "CRITICAL": output.RED, "DEBUG": "2"}
#: How many entries `--follow` begins with.
_BEFORE = 10


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
        typer.Exit: the user pressed Ctrl-C.
    """
    moment = times.moment(since, "--since")
    if follow and tail is None and since is None:
        tail = _BEFORE
    entries = client.log(level=level, since=moment, tail=tail, follow=follow)
    try:
        for found in entries:
            for each in found:
                if as_json:
                    output.print_ndjson(each)
                else:
                    _print(each)
            output.flush()
    except KeyboardInterrupt:
        raise typer.Exit(Interrupted.exit_code) from None
    return 0


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
