"""`koco steps`: list an execution's recorded steps."""

import json
from pathlib import Path
from typing import Annotated

from koco.cli import arguments, connection, pages
from koco.cli.arguments import Fid
from koco.cli.parameters import Option
from koco.cli.terminal import event_text, output, times
from koco.client.answers import RecordedStep
from koco.client.client import Client
from koco.errors import OutputError
from koco.plurals import counted
from koco.sizes import format_size

_STYLES = {
    "finished": "green",
    "error": "red",
    "retrying": "yellow",
    "running": "cyan",
    "waiting": "magenta",
    "expired": "dim",
    "withdrawn": "dim",
}


def command(
    fid: Fid = "-",
    status: Annotated[
        list[str] | None, Option(metavar="STATUS", help="Only with this status (repeatable).")
    ] = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="The maximum number of steps.")] = 1000,
    export: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Write all that is recorded to a file, for koco.testing.replays."
        ),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print {items, next} as JSON.")] = False,
) -> None:
    """List an execution's recorded steps, in the order of their calls.

    With --export, the inputs and the results are in the file as they were, hidden inputs and
    secrets in clear. Replaying a file runs code that is in it: replay none from strangers.

    Example: koco steps 5wzk
    """
    client = connection.connect()
    fid = arguments.resolve_fid(client, fid)
    if export is not None:
        _export(client, fid, export)
        return
    wanted = [name for each in status or () for name in each.split(",") if name]

    page = pages.gather(client.steps, limit, fid=fid, statuses=wanted)
    if as_json:
        output.print_json(page)
        return
    _print(page["items"])
    pages.tell_more(page, limit)
    if not page["items"] and output.is_terminal():
        output.note("it has no recorded steps")


def _export(client: Client, fid: str, file: Path) -> None:
    history = client.history(fid)
    try:
        file.touch(mode=0o600)  # it has values that are hidden elsewhere
        file.write_text(json.dumps(history, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as exc:
        raise OutputError(f"cannot write {file}: {exc.strerror}") from exc
    recorded = len(history["steps"]) + len(history.get("locks", ()))
    steps = counted(recorded, "step")
    output.note(f"{file} has {steps}; hidden inputs and secrets in results are in clear")


def _print(items: list[RecordedStep]) -> None:
    if not output.is_terminal():
        names = ("key", "kind", "status", "attempt", "started", "duration_s", "size_bytes")
        rows = [[_field(item.get(name)) for name in names] + [_outcome(item)] for item in items]
        output.print_table((*names, "preview"), rows)
        return
    if not items:
        return
    rows = [
        [
            item["key"],
            item["status"],
            str(item["attempt"]),
            "-" if item["duration_s"] is None else times.exact(item["duration_s"]),
            format_size(item["size_bytes"]) if item["size_bytes"] else "-",
            _outcome(item),
        ]
        for item in items
    ]
    columns = ["STEP", "STATUS", "ATTEMPT", "TOOK", "SIZE", "OUTCOME"]
    if all(item["attempt"] == 1 for item in items):
        columns.remove("ATTEMPT")
        rows = [[*row[:2], *row[3:]] for row in rows]
    output.print_table(columns, rows, styles=_STYLES, widest="OUTCOME")


def _field(value: object) -> str:
    return "-" if value is None else str(value)


def _outcome(step: RecordedStep) -> str:
    """Return a step's result or error, or what it waits for, on one line."""
    if step["status"] == "waiting":
        if step["due"] is not None and output.is_terminal():
            return f"until {times.at(step['due'])}"  # the key names the wait
        return event_text.describe_recorded_wait(step)
    return output.inline(step["preview"] or step["child"] or "")
