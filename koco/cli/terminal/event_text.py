"""Events and their payloads as text for people."""

import json
import re
from typing import Any

from koco.cli.terminal import output, times
from koco.client.answers import RecordedStep
from koco.plurals import counted

#: The part of an error's message that is searched for in its traceback (characters).
_KNOWN_BY = 200

#: A frame of a traceback: file, line, function, and the code of that line.
_FRAME = re.compile(
    r'^ +(?:\| )?File "(.+?)", line (\d+)(?:, in (.+))?(?:\n {4,}(.*))?', re.MULTILINE
)
#: Files that are not the author's.
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python3|^<frozen ")

_BODIES = ("markdown", "html", "text")
#: The sign before a step, by its status.
_SIGNS = {"finished": "✓", "error": "✗", "retrying": "↻", "expired": "-", "withdrawn": "-"}

#: The longest preview of a result on one line with its step (characters).
_PREVIEW = 60


def text_of(payload: Any, *, indent: int | None = None) -> str:
    """Return a payload as text: strings and bodies unchanged, the rest as JSON."""
    if isinstance(payload, str):
        return payload.removesuffix("\n")
    if bodies := bodies_of(payload):
        return "\n".join(body for _, body in bodies)
    return json.dumps(payload, indent=indent, ensure_ascii=False)


def bodies_of(payload: Any) -> list[tuple[str, str]]:
    """Return the bodies in a payload, each with its type; empty if it is not made of bodies."""
    values = payload if isinstance(payload, list) else [payload]
    found = [body for value in values if (body := _body(value))]
    return found if len(found) == len(values) else []


def error_text(payload: Any) -> str:
    """Return an `error` event's traceback, with type and message if it does not have them."""
    if not isinstance(payload, dict):
        return text_of(payload)
    message = str(payload.get("message") or "")
    summary = f"{payload.get('type') or 'Error'}: {message}"
    trace = str(payload.get("traceback") or "").rstrip("\n")
    if not trace:
        return summary
    # The stack of a crashed process has no last line with the error, and in koco's own errors that
    # line differs.
    return trace if message[:_KNOWN_BY] in trace else f"{trace}\n{summary}"


def place_of_error(traceback: Any) -> str | None:
    """Return the last place in the author's own code that a traceback names, with its line.

    Of a traceback through libraries only, the last place; None if it names none.
    """
    found = _FRAME.findall(traceback) if isinstance(traceback, str) else []
    own = [frame for frame in found if not _LIBRARY.search(frame[0])]
    if not found:
        return None
    file, number, function, code = (own or found)[-1]
    place = f"{file}, line {number}" + (f", in {function}" if function else "")
    return f"{place}: {code.strip()}" if code.strip() else place


def describe_status(payload: dict[str, Any]) -> str:
    """Return a status and what comes with it: another attempt, a resume, another release."""
    if payload.get("resumed"):
        after = payload.get("after")
        place = f"after {output.inline(str(after))}" if after else "from the start"
        because = payload.get("because")
        return f"resumed {place}: {because}" if because else f"resumed {place}"
    attempt = payload.get("attempt")
    again = f": attempt {attempt} begins at {_at(payload.get('not_before'))}" if attempt else ""
    moved = f": moved to release {payload['release']}" if payload.get("release") else ""
    parked = ": parked" if payload.get("parked") and payload.get("status") == "awaiting" else ""
    return f"{payload.get('status')}{again}{moved}{parked}"


def describe_lock(lock: dict[str, Any], fid: str) -> str:
    """Return an open lock's name, when it expires, and the command that answers it."""
    # The command has its own line, so that a narrow terminal does not break text that users copy.
    waits = f"lock: {lock.get('name')} waits for an answer until {_at(lock.get('expires'))}"
    # Without a fid, it runs in this process, which asks by itself.
    return f"{waits}\nkoco answer {fid} {lock.get('name')}" if fid else waits


def describe_lease(lease: dict[str, Any]) -> str:
    """Return the end of a lock, and its answer."""
    outcome = f"lease: {lease.get('name')} {lease.get('outcome')}"
    if lease.get("outcome") != "answered":
        return outcome
    return f"{outcome} by {lease.get('by')}: {text_of(lease.get('answer'))}"


def describe_file(file: dict[str, Any]) -> str:
    """Return a file's path and size, or that it was removed."""
    size = file.get("size_bytes")
    change = counted(size, "byte") if isinstance(size, int) else f"{size} bytes"
    change = "removed" if file.get("removed") else change
    return output.inline(f"upload: {file.get('path')} {change} by {file.get('by')}")


def describe_step(step: dict[str, Any]) -> str:
    """Return a step on one line: its place, its status, how long it took, and its outcome.

    A terminal gets a sign for the status, other readers get its name.
    """
    status, took_s = str(step.get("status")), step.get("duration_s")
    if output.is_terminal():
        start = f"{_SIGNS.get(status, '·')} {step.get('step')}"
    else:
        start = f"step: {step.get('step')} {status}"
    parts = [start]
    if isinstance(took_s, int | float) and status != "retrying":
        parts.append(times.exact(took_s))
    if rest := _rest_of(step, status):
        parts.append(rest)
    return output.inline(" ".join(parts))


def describe_wait(step: dict[str, Any]) -> str:
    """Return what a waiting step waits for: a time, an execution, a person, or a message."""
    until, kind = step.get("until"), step.get("kind")
    if kind == "sleep":
        return f"until {_at(until)}"
    others = {"lock": "a person", "call": "another execution", "launch": "another execution"}
    what = step.get("fid") or others.get(str(kind), "a message")
    return f"for {what} until {_at(until)}" if until else f"for {what}"


def describe_recorded_wait(step: RecordedStep) -> str:
    """Return the same of a step in a list of recorded ones."""
    return describe_wait({"kind": step["kind"], "until": step["due"], "fid": step["child"]})


def _body(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict) or len(value) != 2:
        return None
    if isinstance(text := value.get("$repr"), str) and "$type" in value:
        return "text", text  # a value that could not be made JSON
    type_, body = value.get("type"), value.get("body")
    return (type_, body) if type_ in _BODIES and isinstance(body, str) else None


def _rest_of(step: dict[str, Any], status: str) -> str:
    """Return what a line about a step says after its status and its duration."""
    is_drawn = output.is_terminal()
    attempt, error = step.get("attempt"), step.get("error") or ""
    match status:
        case "running":
            again = f"attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
            return " ".join(part for part in ("running" if is_drawn else "", again) if part)
        case "retrying":
            return f"attempt {attempt} failed: {error}"
        case "waiting":
            return f"waits {describe_wait(step)}" if is_drawn else describe_wait(step)
        case "error":
            return str(error or step.get("preview") or "")
        case "finished":
            return output.shortened(str(step.get("preview") or step.get("fid") or ""), _PREVIEW)
    return status if is_drawn else ""


def _at(time: Any) -> str:
    return times.at(time) if isinstance(time, str) else str(time)
