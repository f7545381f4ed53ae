"""`koco show`: show an execution."""

import json
from typing import Annotated, Any

import typer

from koco.cli import approvals, arguments, connection
from koco.cli.arguments import Fid
from koco.cli.terminal import output, times
from koco.client.answers import Execution, Lock


def command(
    fid: Fid = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Print the execution as JSON.")] = False,
) -> None:
    """Show an execution: flow, status, times, inputs, error.

    Example: koco show 5wzk
    """
    client = connection.connect()
    execution = client.execution(arguments.resolve_fid(client, fid))
    if as_json:
        output.print_json(execution)
        return
    lines = _lines(execution)
    if execution["status"] == "awaiting":
        lines += [
            ("awaits", _describe(lock)) for lock in approvals.open_locks(client, execution["fid"])
        ]
    for label, value in lines:
        output.print_line(f"{label:<9} {value}")


def _describe(lock: Lock) -> str:
    data = "" if lock["data"] is None else f" {json.dumps(lock['data'], ensure_ascii=False)}"
    return f"{lock['name']} (until {times.at(lock['expires'])}){data}"


def _at(time: str | None) -> str | None:
    return time and times.at(time)


def _lines(execution: Execution) -> list[tuple[str, str]]:
    facts: dict[str, Any] = dict(execution)
    lines: list[tuple[str, Any]] = [
        (name, facts[name]) for name in ("fid", "flow", "release", "status")
    ]
    lines += [(name, _at(facts[name])) for name in ("created", "started", "finished")]
    if execution["started"]:
        took_s = times.seconds(execution["started"], execution["finished"])
        lines.append(("took", times.short(took_s)))
    if (attempt := execution.get("attempt", 1)) > 1:
        lines.append(("attempt", f"{attempt} of at most {execution.get('attempts', attempt)}"))
    lines += [("waits", execution.get("waits")), ("deadline", _at(execution.get("deadline")))]
    lines += [("user", output.inline(execution["user"]))]
    lines += [("tags", output.inline(", ".join(execution["tags"] or ())))]
    lines += [("events", execution["last_seq"])]
    lines += [("inputs", json.dumps(execution["inputs"], ensure_ascii=False))]
    if error := execution["error"]:
        lines.append(("error", f"{error.get('type')}: {error.get('message')}"))
    return [(name, str(value)) for name, value in lines if value not in (None, "")]
