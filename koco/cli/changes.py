"""A plan as people read it: a line for each service, and below it what changes."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from koco.cli import output

if TYPE_CHECKING:
    from koco.cli.planning import Plan, Planned

#: Files of one service that are named; of more than that, `--json` tells.
_FILES = 20

_SIGNS = {"create": "+", "added": "+", "removed": "-", "remove": "-"}
_COLOURS = {"+": "32", "-": output.RED, "~": output.YELLOW}
_ACTIONS = {"create": "+", "update": "~", "remove": "-", "unchanged": ""}
_ABSENT = object()


def size(size_bytes: int) -> str:
    """Return a size as people read it."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:.1f} MB"


def summary(plan: "Plan") -> str:
    """Return how many services get what: `1 to create, 2 to update, 4 unchanged`."""
    counts = plan.answer["counts"]
    told = [f"{counts[key]} to {key}" for key in ("create", "update", "remove") if counts[key]]
    if counts["unchanged"]:
        told.append(f"{counts['unchanged']} unchanged")
    return ", ".join(told)


def show(plan: "Plan", stream: TextIO, *, details: bool) -> None:
    """Write a plan to a stream; of what stays as it is, there is but the number."""
    for line in (*_lines(plan, stream, details=details), summary(plan)):
        stream.write(f"{line}\n")
    stream.flush()


def _lines(plan: "Plan", stream: TextIO, *, details: bool) -> Iterator[str]:
    wide = max((len(step["service"]) for step in plan.answer["items"]), default=0)
    ours = {each.step["service"]: each for each in plan.services}
    for step in plan.answer["items"]:
        if step["action"] == "unchanged":
            continue
        action = output.paint(f"{step['action']:<6}", _COLOURS[_ACTIONS[step["action"]]], stream)
        about = _about(step, ours.get(step["service"]), details=details)
        name = _safe(f"{step['service']:<{wide}}", stream)
        yield f"{name}  {action}  {_safe(about, stream)}".rstrip()
        yield from _openings(step, stream)
        if details:
            yield from _details(step, stream)


def _about(step: dict[str, Any], ours: "Planned | None", *, details: bool) -> str:
    """Return what a service's line says after the action."""
    told = [f"release {step['release']}"] if step["release"] is not None else []
    if step["starting"] is not None:
        told.append(f"(release {step['starting']} is on its way)")
    if step["action"] == "create" and ours is not None:
        total = sum(file.size_bytes for file in ours.files)
        told.append(f"{_counted(len(ours.files), 'file')}, {size(total)}")
    files = "" if details else f" ({_counted(len(step['files']), 'file')})"
    parts = [part + files if part == "code" else part for part in step["parts"]]
    return "  ".join([*told, ", ".join(parts)]).rstrip()


def _openings(step: dict[str, Any], stream: TextIO) -> Iterator[str]:
    """Yield a line for each path that is public, or is so no more: those are always told."""
    now = step.get("public", [])
    changes = {change["path"]: change for change in step["changes"]}
    kept = now if step["action"] == "update" else []
    former = changes.get("endpoint.public", {}).get("old", kept)
    for path in [*now, *(each for each in former if each not in now)]:
        shown = _safe(path, stream)
        if path not in now:
            yield f"    closes {shown} to the public"
        elif path in former:
            yield f"    keeps {shown} open to the public"
        else:
            yield f"    {output.paint(f'opens {shown} to the public', output.YELLOW, stream)}"


def _details(step: dict[str, Any], stream: TextIO) -> Iterator[str]:
    files = [_file(each) for each in step["files"][:_FILES]]
    paths = {change["path"] for change in step["changes"]}
    settings = [each for change in step["changes"] for each in _setting(change, paths)]
    rows = [*files, *settings]
    wide = max((len(name) for _, name, _ in rows if len(name) <= 40), default=0)
    for number, (sign, name, text) in enumerate(rows):
        if number == len(files) and len(step["files"]) > _FILES:
            yield f"    … and {len(step['files']) - _FILES} more files"
        line = _cut(f"{sign} {name:<{wide}}  {text}".rstrip(), stream)
        painted = output.paint(line[:1], _COLOURS[sign], stream)
        yield f"    {painted}{_safe(line[1:], stream)}"
    if len(rows) == len(files) and len(step["files"]) > _FILES:
        yield f"    … and {len(step['files']) - _FILES} more files"


def _file(change: dict[str, Any]) -> tuple[str, str, str]:
    old, new = change["old_bytes"], change["new_bytes"]
    if change["change"] == "mode":
        return "~", change["path"], "whether it can be executed"
    if old is None or new is None:
        return _SIGNS[change["change"]], change["path"], size(old if new is None else new)
    before, after = size(old), size(new)
    if before == after and old != new:
        before, after = f"{old:,} B", f"{new:,} B"
    return "~", change["path"], before if old == new else f"{before} → {after}"


def _setting(change: dict[str, Any], paths: set[str]) -> Iterable[tuple[str, str, str]]:
    """Return the rows of a value that differs; `paths` are those of all that do."""
    path, old, new = change["path"], change.get("old", _ABSENT), change.get("new", _ABSENT)
    if isinstance(old, list) and isinstance(new, list):
        gone = [("-", path, each) for each in old if each not in new]
        come = [("+", path, each) for each in new if each not in old]
        if gone or come:
            # What has a row of its own is not told twice.
            rows = [row for row in (*gone, *come) if f"{path}.{row[2]}" not in paths]
            return [(sign, path, _value(each)) for sign, path, each in rows]
        return [("~", path, f"{_value(old)} → {_value(new)}")]
    if old is _ABSENT:
        return [("+", path, _value(new))]
    if new is _ABSENT:
        return [("-", path, _value(old))]
    return [("~", path, f"{_value(old)} → {_value(new)}")]


def _value(value: Any) -> str:
    if isinstance(value, dict):  # without its defaults, most of which are nothing
        value = {key: each for key, each in value.items() if each not in (None, "", [], {})}
    return json.dumps(value, ensure_ascii=False)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _safe(text: str, stream: TextIO) -> str:
    return output.harmless(text) if output.is_terminal(stream) else text


def _cut(line: str, stream: TextIO) -> str:
    """Return a line that fits a terminal, behind the four columns that it is indented by."""
    if not output.is_terminal(stream):
        return line  # whole, for a log that is searched
    width = output.room(stream, indent=4)
    return line if len(line) <= width else f"{line[: width - 1]}…"
