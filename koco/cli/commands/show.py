"""`koco show`: show an execution."""

import json
from typing import Annotated, Any

import typer

from koco.cli import approvals, arguments, connection, pages
from koco.cli.arguments import Fid
from koco.cli.terminal import event_text, output, times
from koco.client.answers import Execution, Lock
from koco.client.client import Client
from koco.plurals import counted

#: How many waits and children are listed.
_SHOWN = 10


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
    if "parked" in execution:  # older control planes have neither steps nor children
        lines += _waits(client, execution) + _children(client, execution["fid"])
    for label, value in lines:
        output.print_line(f"{label:<9} {value}")


def _waits(client: Client, execution: Execution) -> list[tuple[str, str]]:
    """Return what an execution waits for besides people: times, messages, other executions."""
    if execution["status"] not in ("sleeping", "awaiting"):
        return []
    lines = []
    if execution.get("parked"):
        for event in client.events(execution["fid"], kinds=("status",), tail=1):
            since = times.at(event["ts"])
            lines.append(("parked", f"since {since}; it has no process until its wait ends"))
    page = client.steps(execution["fid"], statuses=["waiting"], limit=_SHOWN)
    for step in page["items"]:
        if step["kind"] == "lock":
            continue  # the line of locks shows it
        what, since = event_text.describe_recorded_wait(step), times.at(step["started"])
        lines.append(("waits", f"{step['key']} {what}, since {since}"))
    if page["next"]:
        lines.append(("waits", f"and more: `koco steps {execution['fid']} --status waiting`"))
    return lines


def _children(client: Client, fid: str) -> list[tuple[str, str]]:
    """Return the executions that an execution launched, the newest first."""
    page = pages.gather(client.executions, _SHOWN, parent=fid)
    lines = [("child", f"{each['fid']} {each['flow']} {each['status']}") for each in page["items"]]
    if page["next"]:
        lines.append(("child", f"and more: `koco ps --parent {fid}`"))
    return lines


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
    if execution.get("durable"):
        lines.append(("durable", "yes"))
    if resumed := execution.get("resumed", 0):
        lines.append(("resumed", counted(resumed, "time")))
    names = {"parent": "parent", "retry_of": "retry of", "resume_of": "resume of"}
    lines += [(label, facts.get(name)) for name, label in names.items()]
    lines += [("waits", execution.get("waits")), ("deadline", _at(execution.get("deadline")))]
    lines += [("user", output.inline(execution["user"]))]
    lines += [("tags", output.inline(", ".join(execution["tags"] or ())))]
    lines += [("events", execution["last_seq"])]
    lines += [("inputs", json.dumps(execution["inputs"], ensure_ascii=False))]
    if error := execution["error"]:
        lines.append(("error", f"{error.get('type')}: {error.get('message')}"))
    return [(name, str(value)) for name, value in lines if value not in (None, "")]
