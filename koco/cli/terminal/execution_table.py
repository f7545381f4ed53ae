"""Executions as a table: for people, as wide as their terminal, or with named columns."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from koco.cli.terminal import output, progress_text, times
from koco.client.answers import Execution
from koco.errors import UsageError
from koco.events.model import FINAL
from koco.sizes import format_size
from koco.spelling import nearest

#: The colours of statuses.
STYLES = {
    "finished": "green",
    "error": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "awaiting": "magenta",
    "sleeping": "blue",
    "queued": "dim",
}

_Facts = dict[str, Any]


class _Column(NamedTuple):
    """A column: the value for programs, and the text for people if that differs."""

    value: Callable[[_Facts], Any]
    text: Callable[[_Facts], str] | None = None


def _fact(name: str) -> _Column:
    return _Column(lambda facts: facts.get(name))


def _time(name: str) -> _Column:
    def text(facts: _Facts) -> str:
        return times.at(facts[name]) if facts.get(name) else "-"

    return _Column(lambda facts: facts.get(name), text)


def _used(name: str, text: Callable[[Any], str]) -> _Column:
    def value(facts: _Facts) -> Any:
        return (facts.get("used") or {}).get(name)

    return _Column(value, lambda facts: "-" if value(facts) is None else text(value(facts)))


def _duration_s(facts: _Facts) -> float | None:
    started, finished = facts.get("started"), facts.get("finished")
    return round(times.seconds(started, finished), 3) if started else None


def took(facts: _Facts) -> str:
    """Return how long an execution took, or has run."""
    duration_s = _duration_s(facts)
    return "-" if duration_s is None else times.short(duration_s)


def attempts(facts: _Facts) -> str:
    """Return the number of an execution's attempt, of all that it may have."""
    attempt, most = facts.get("attempt") or 1, facts.get("attempts")
    return f"{attempt}/{most}" if most else str(attempt)


def error(facts: _Facts) -> str:
    """Return the type and the text of an execution's error, or nothing."""
    found = facts.get("error") or {}
    return ": ".join(str(part) for part in (found.get("type"), found.get("message")) if part)


#: All columns, by the names that `--format` takes.
COLUMNS: dict[str, _Column] = {
    **{
        name: _fact(name)
        for name in ("context", "fid", "flow", "service", "release", "status", "user")
    },
    "tags": _Column(lambda facts: ",".join(facts.get("tags") or ())),
    **{name: _time(name) for name in ("created", "started", "finished", "deadline")},
    "duration_s": _Column(_duration_s, took),
    "attempt": _Column(lambda facts: facts.get("attempt"), attempts),
    "progress": _Column(
        lambda facts: progress_text.plain(facts.get("progress")),
        lambda facts: progress_text.plain(facts.get("progress")) or "",
    ),
    "waits": _Column(lambda facts: facts.get("waits"), lambda facts: facts.get("waits") or ""),
    "error": _Column(lambda facts: error(facts) or None, error),
    "error_type": _Column(lambda facts: (facts.get("error") or {}).get("type")),
    "wall_s": _used("wall_s", times.short),
    "cpu_s": _used("cpu_s", times.short),
    "memory_bytes": _used("peak_memory_bytes", format_size),
    "ray_tasks": _used("ray_tasks", str),
    "stored_bytes": _used("stored_bytes", format_size),
    **{name: _fact(name) for name in ("parent", "retry_of", "resume_of", "resumed", "last_seq")},
}
#: The columns for programs, unless they choose.
PLAIN = (
    *("fid", "flow", "status", "created", "started", "finished", "waits", "user"),
    *("duration_s", "attempt", "progress", "error"),
)
#: The least width of columns that may shrink, and the space between two columns (characters).
_LEAST_FLOW, _LEAST_WHY, _GAP = 16, 34, 2
#: The columns that a narrow terminal has no room for, the first one first.
_GIVING_WAY = ("BY", "TRY", "TOOK", "CREATED", "PROGRESS")


def parse(names: str | None) -> tuple[str, ...] | None:
    """Return the columns in `--format`; None stays None.

    Raises:
        UsageError: there is no such column.
    """
    if names is None:
        return None
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in found:
        if name not in COLUMNS:
            near = nearest(name, COLUMNS)
            guess = f"did you mean {near}? " if near else ""
            raise UsageError(
                f"--format: there is no column {name[:80]!r}",
                hint=f"{guess}There are: {', '.join(COLUMNS)}",
            )
    if not found:
        raise UsageError("--format names no column", hint="such as --format fid,status,error")
    return found


def print_csv(items: Iterable[Execution], names: Sequence[str] | None) -> None:
    """Write executions as CSV with a header. What is not known is empty."""
    import csv  # only for this

    names = names or PLAIN
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([COLUMNS[name].value(dict(item)) for name in names] for item in items)


def print_columns(items: Iterable[Execution], names: Sequence[str] | None) -> None:
    """Write executions with some columns: texts at a terminal, values for scripts elsewhere."""
    names = names or PLAIN
    if not output.is_terminal():
        rows = [{name: COLUMNS[name].value(dict(item)) for name in names} for item in items]
        output.print_fields(names, rows, lambda value: "-" if value in (None, "") else str(value))
        return
    cells = [[_text(COLUMNS[name], dict(item)) for name in names] for item in items]
    output.print_table(
        [name.upper() for name in names], cells, styles=STYLES, widest=_widest(names)
    )


def _widest(names: Sequence[str]) -> str:
    order = ("error", "waits", "progress", "tags", "flow", names[-1])
    return next(name for name in order if name in names).upper()


def _text(column: _Column, facts: _Facts) -> str:
    if column.text is not None:
        return column.text(facts)
    value = column.value(facts)
    return "-" if value is None else str(value)


def draw(items: Sequence[Execution]) -> None:
    """Draw executions for people: the columns that say something, as far as there is room."""
    columns, rows = fit([dict(item) for item in items], output.room())
    widest = "WHY" if "WHY" in columns else "FLOW"
    output.print_table(columns, rows, styles=STYLES, widest=widest)


def fit(items: Sequence[_Facts], room: int) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows that fit a width."""
    table = _columns_of(items)
    widths = {name: max(map(len, (name, *cells))) for name, cells in table.items()}
    least = {"FLOW": _LEAST_FLOW, "WHY": _LEAST_WHY}
    needed = {name: min(width, least.get(name, width)) for name, width in widths.items()}
    giving_way = list(_GIVING_WAY)
    if len({item.get("status") for item in items}) == 1 and "WHY" in table:
        giving_way.insert(3, "STATUS")  # an error says that it is one
    for name in giving_way:
        if sum(needed.values()) + _GAP * (len(needed) - 1) <= room:
            break
        if name in needed:
            del needed[name], table[name]
    if "WHY" in table:
        rest = room - sum(needed.values()) - _GAP * (len(needed) - 1)
        most = needed["FLOW"] + max(rest, 0)
        table["FLOW"] = [output.shortened(cell, most) for cell in table["FLOW"]]
    return list(table), [list(row) for row in zip(*table.values(), strict=True)]


def _columns_of(items: Sequence[_Facts]) -> dict[str, list[str]]:
    """Return the columns that say something of these executions, each with its cells."""
    table = {
        "CONTEXT": [item.get("context", "") for item in items],
        "FID": [item["fid"] for item in items],
        "FLOW": [item["flow"] for item in items],
        "STATUS": [item["status"] for item in items],
        "CREATED": [times.ago(item["created"]) for item in items],
        "TOOK": [took(item) for item in items],
        "PROGRESS": [_progress(item) for item in items],
        "TRY": [attempts(item) if (item.get("attempt") or 1) > 1 else "" for item in items],
        "BY": [item["user"] for item in items],
        "WHY": [output.inline(item.get("waits") or error(item)) for item in items],
    }
    if len(set(table["BY"])) == 1:
        del table["BY"]
    return {
        name: cells
        for name, cells in table.items()
        if any(cells) or name not in ("CONTEXT", "PROGRESS", "TRY", "WHY")
    }


def _progress(facts: _Facts) -> str:
    return "" if facts["status"] in FINAL else progress_text.brief(facts.get("progress"))
