"""`koco show`: show an execution."""

import contextlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

from koco.cli import approvals, arguments, connection, pages
from koco.cli.arguments import Fid
from koco.cli.parameters import Option
from koco.cli.terminal import event_text, output, progress_text, times
from koco.client.answers import Execution, Lock
from koco.client.client import Client
from koco.errors import KocoError
from koco.plurals import counted
from koco.sizes import format_size

#: How many waits and children are listed.
_SHOWN = 10


def command(
    fid: Fid = "-",
    as_json: Annotated[bool, Option("--json", help="Print the execution as JSON.")] = False,
) -> None:
    """Show an execution: its error, status, times, inputs and usage.

    A terminal also shows what to type next.

    Example: koco show 5wzk
    """
    client = connection.connect()
    execution = client.execution(arguments.resolve_fid(client, fid))
    if as_json:
        output.print_json(execution)
        return
    lines = _error(client, execution) + _lines(execution)
    locks = approvals.open_locks(client, execution["fid"]) if _is(execution, "awaiting") else []
    lines += [("awaits", _describe(lock)) for lock in locks]
    if "parked" in execution:  # older control planes have neither steps nor children
        lines += _waits(client, execution) + _children(client, execution["fid"])
    for label, value in lines:
        output.print_line(f"{label:<9} {value}")
    if output.is_terminal():
        output.flush()
        for hint in _next(execution, locks):
            output.note(f"{'next':<9} {hint}")


def _is(execution: Execution, status: str) -> bool:
    return execution["status"] == status


def _error(client: Client, execution: Execution) -> list[tuple[str, str]]:
    """Return how an execution failed, and where in its code."""
    if not (error := execution["error"]):
        return []
    lines = [("error", ": ".join(str(error[key]) for key in ("type", "message") if error.get(key)))]
    with contextlib.suppress(KocoError):  # of an older control plane, or deleted meanwhile
        full = client.result(execution["fid"]).get("error") or {}
        if place := event_text.place_of_error(full.get("traceback")):
            lines.append(("at", place))
    return lines


def _next(execution: Execution, locks: Sequence[Lock]) -> list[str]:
    """Return commands that help now, each with what it does."""
    fid, status = execution["fid"], execution["status"]
    match status:
        case "error" | "cancelled":
            again = [f"koco retry {fid}", "runs it again with the same inputs"]
            if execution.get("durable"):
                again = [f"koco resume {fid}", "goes on from the last recorded step"]
            hints = [[f"koco logs {fid}", "shows its events and the traceback"], again]
        case "finished":
            hints = [[f"koco result {fid}", "prints its result"]]
        case "awaiting" if locks:
            hints = [[f"koco answer {fid} {lock['name']}", "answers it"] for lock in locks]
        case "sleeping" | "awaiting":
            hints = [[f"koco steps {fid}", "shows its steps and what it waits for"]]
        case "running":
            hints = [[f"koco logs -f {fid}", "follows it"], [f"koco stack {fid}", "where it is"]]
        case _:
            hints = [[f"koco logs -f {fid}", "follows it"], [f"koco cancel {fid}", "ends it"]]
    width = max(len(command) for command, _ in hints)
    return [f"{command:<{width}}  {about}" for command, about in hints]


def _used(execution: Execution) -> str | None:
    """Return what an execution has used, in words."""
    if not (used := execution.get("used")):
        return None
    parts = [f"{times.short(used['wall_s'])}, {times.exact(used['cpu_s'])} of CPU time"]
    if memory := used["peak_memory_bytes"]:
        parts.append(f"{format_size(memory)} of memory")
    if tasks := used["ray_tasks"]:
        parts.append(counted(tasks, "Ray task"))
    return ", ".join([*parts, f"{format_size(used['stored_bytes'])} stored"])


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
    lines += [("progress", progress_text.plain(execution.get("progress")))]
    lines += [("used", _used(execution))]
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
    lines += [("trace", execution.get("trace_id"))]
    lines += [("events", execution["last_seq"])]
    lines += [("inputs", json.dumps(execution["inputs"], ensure_ascii=False))]
    return [(name, str(value)) for name, value in lines if value not in (None, "")]
