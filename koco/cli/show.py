"""`koco show`: one execution."""

import json
from typing import Annotated, Any

import typer

from koco.cli.arguments import Fid


def command(
    fid: Fid = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show an execution: flow, status, times, inputs, error.

    Example: koco show 5wzk
    """
    from koco.cli import approving, output, session

    client = session.connect()
    execution = client.execution(fid)
    if as_json:
        output.print_json(execution)
        return
    lines = _lines(execution)
    if execution["status"] == "awaiting":
        lines += [
            ("awaits", _asked(lock)) for lock in approving.open_locks(client, execution["fid"])
        ]
    for label, value in lines:
        output.print_line(f"{label:<9} {value}")


def _asked(lock: dict[str, Any]) -> str:
    data = "" if lock["data"] is None else f" {json.dumps(lock['data'], ensure_ascii=False)}"
    return f"{lock['name']} (until {lock['expires']}){data}"


def _lines(execution: dict[str, Any]) -> list[tuple[str, str]]:
    from koco.cli import clock

    lines = [(name, execution[name]) for name in ("fid", "flow", "release", "status")]
    lines += [(name, execution[name]) for name in ("created", "started", "finished")]
    if execution["started"]:
        took_s = clock.seconds(execution["started"], execution["finished"])
        lines.append(("took", clock.short(took_s)))
    if execution.get("attempt", 1) > 1:
        lines.append(("attempt", f"{execution['attempt']} of at most {execution['attempts']}"))
    lines += [("waits", execution.get("waits")), ("deadline", execution.get("deadline"))]
    lines += [("user", execution["user"]), ("tags", ", ".join(execution["tags"] or ()))]
    lines += [("events", execution["last_seq"])]
    lines += [("inputs", json.dumps(execution["inputs"], ensure_ascii=False))]
    if error := execution["error"]:
        lines.append(("error", f"{error.get('type')}: {error.get('message')}"))
    return [(name, str(value)) for name, value in lines if value not in (None, "")]
