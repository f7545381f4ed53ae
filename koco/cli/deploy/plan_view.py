"""Show a plan to people: a line for each service, and its changes below."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from koco.cli.terminal import output
from koco.client.answers import Change, FileChange
from koco.plurals import counted
from koco.sizes import format_size

if TYPE_CHECKING:
    from koco.cli.deploy.plan import FullStep, Plan, Planned

#: The number of files to name per changed service, and per new one (its largest); `--verbose` names
#: all.
_FILES, _LARGEST = 20, 10

_SIGNS = {"create": "+", "added": "+", "removed": "-", "remove": "-"}
_COLOURS = {"+": output.GREEN, "-": output.RED, "~": output.YELLOW, "!": output.YELLOW}
_ACTIONS = {"create": "+", "update": "~", "remove": "-", "unchanged": ""}
_ABSENT = object()

#: A hint about files that are left out.
_INCLUDE = "runtime.include in the manifest ships files that are left out"

#: A line of a plan: its sign, its subject, and the rest.
_Row = tuple[str, str, str]


def summary(plan: "Plan") -> str:
    """Return the number of services per action: `1 to create, 2 to update, 4 unchanged`."""
    counts = plan.answer["counts"]
    parts = [
        (counts["create"], "to create"),
        (counts["update"], "to update"),
        (counts["remove"], "to remove"),
        (counts["unchanged"], "unchanged"),
    ]
    return ", ".join(f"{count} {text}" for count, text in parts if count)


def show(plan: "Plan", stream: TextIO, *, details: bool, verbose: bool = False) -> None:
    """Write a plan to a stream. Unchanged services are only counted.

    New services and left-out files are always named. `details` also names the changes, and
    `verbose` every file of a long list.
    """
    for line in (*_lines(plan, stream, details=details, verbose=verbose), summary(plan)):
        stream.write(f"{line}\n")
    stream.flush()


def _lines(plan: "Plan", stream: TextIO, *, details: bool, verbose: bool) -> Iterator[str]:
    names = {step["service"]: output.inline(step["service"]) for step in plan.steps}
    wide = max(map(len, names.values()), default=0)
    ours = {each.service: each for each in plan.services}
    for step in plan.steps:
        if step["action"] == "unchanged":
            continue
        action = output.paint(f"{step['action']:<6}", _COLOURS[_ACTIONS[step["action"]]], stream)
        about = _about(step, details=details)
        name = f"{names[step['service']]:<{wide}}"
        yield f"{name}  {action}  {output.inline(about)}".rstrip()
        yield from _openings(step, stream)
        blocks = [
            _Block(
                _files(step, ours.get(step["service"]), details=details),
                "more file",
                _LARGEST if step["action"] == "create" else _FILES,
            ),
            _Block(_settings(step) if details else []),
            _Block(_left_out(step), "more left-out file", hint=_INCLUDE),
        ]
        yield from _details(blocks, stream, verbose=verbose)


def _about(step: "FullStep", *, details: bool) -> str:
    """Return the text after the action in a service's line."""
    facts = [f"release {step['release']}"] if step["release"] is not None else []
    if step["starting"] is not None:
        facts.append(f"(release {step['starting']} is starting)")
    if step["action"] == "create":
        ships = step["ships"]
        facts.append(f"{counted(ships['files'], 'file')}, {format_size(ships['size_bytes'])}")
    files = "" if details else f" ({counted(len(step['files']), 'file')})"
    parts = [part + files if part == "code" else part for part in step["parts"]]
    return "  ".join([*facts, ", ".join(parts)]).rstrip()


def _openings(step: "FullStep", stream: TextIO) -> Iterator[str]:
    """Yield a line for each path that is public or stops being public. Always shown."""
    now = step.get("public", [])
    changes = {change["path"]: change for change in step["changes"]}
    kept = now if step["action"] == "update" else []
    change = changes.get("endpoint.public")
    former = kept if change is None else change.get("old", kept)
    for path in [*now, *(each for each in former if each not in now)]:
        shown = output.inline(path)
        if path not in now:
            yield f"    closes {shown} to the public"
        elif path in former:
            yield f"    keeps {shown} open to the public"
        else:
            yield f"    {output.paint(f'opens {shown} to the public', output.YELLOW, stream)}"


@dataclass(frozen=True)
class _Block:
    """Rows of one kind, then a hint. If there are more than `most`, it counts the rest by kind."""

    rows: list[_Row]
    more: str = ""
    most: int = _FILES
    hint: str = ""


def _details(blocks: list[_Block], stream: TextIO, *, verbose: bool) -> Iterator[str]:
    """Yield the lines below a service's line, aligned over all blocks."""
    shown = [
        [
            (sign, output.inline(name), output.inline(text))
            for sign, name, text in block.rows[: None if verbose or not block.more else block.most]
        ]
        for block in blocks
    ]
    names = [name for rows in shown for _, name, _ in rows]
    wide = max((len(name) for name in names if len(name) <= 40), default=0)
    for block, rows in zip(blocks, shown, strict=True):
        for sign, name, text in rows:
            line = output.cut(f"{sign} {name:<{wide}}  {text}".rstrip(), stream, indent=4)
            yield f"    {output.paint(line[:1], _COLOURS[sign], stream)}{line[1:]}"
        if len(rows) < len(block.rows):
            more = counted(len(block.rows) - len(rows), block.more)
            yield f"    … and {more}; --verbose lists all"
        if rows and block.hint:
            yield f"      {block.hint}"


def _files(step: "FullStep", ours: "Planned | None", *, details: bool) -> list[_Row]:
    """Return the rows of files: all of a new service, the largest first, or the changed ones."""
    if step["action"] == "create" and ours is not None:
        largest = sorted(ours.files, key=lambda file: (-file.size_bytes, file.path))
        return [("+", file.path, format_size(file.size_bytes)) for file in largest]
    return [_file(each) for each in step["files"]] if details else []


def _settings(step: "FullStep") -> list[_Row]:
    paths = {change["path"] for change in step["changes"]}
    return [each for change in step["changes"] for each in _setting(change, paths)]


def _left_out(step: "FullStep") -> list[_Row]:
    return [
        ("!", each["path"], f"left out: looks like {each['looks_like']}")
        for each in step.get("left_out", ())
    ]


def _file(change: FileChange) -> _Row:
    old, new = change["old_bytes"], change["new_bytes"]
    if change["change"] == "mode":
        return "~", change["path"], "whether it is executable"
    if old is None or new is None:
        size = format_size((old or 0) if new is None else new)
        return _SIGNS.get(change["change"], "~"), change["path"], size
    before, after = format_size(old), format_size(new)
    if before == after and old != new:
        before, after = f"{old:,} B", f"{new:,} B"
    return "~", change["path"], before if old == new else f"{before} → {after}"


def _setting(change: Change, paths: set[str]) -> Iterable[_Row]:
    """Return the rows of a changed value; `paths` are the paths of all changed values."""
    path, old, new = change["path"], change.get("old", _ABSENT), change.get("new", _ABSENT)
    if isinstance(old, list) and isinstance(new, list):
        removed = [("-", path, each) for each in old if each not in new]
        added = [("+", path, each) for each in new if each not in old]
        if removed or added:
            # A value that has its own row is not repeated.
            rows = [row for row in (*removed, *added) if f"{path}.{row[2]}" not in paths]
            return [(sign, path, _value(each)) for sign, path, each in rows]
        return [("~", path, f"{_value(old)} → {_value(new)}")]
    if old is _ABSENT:
        return [("+", path, _value(new))]
    if new is _ABSENT:
        return [("-", path, _value(old))]
    return [("~", path, f"{_value(old)} → {_value(new)}")]


def _value(value: Any) -> str:
    if isinstance(value, dict):  # without its defaults, most of which are empty
        value = {key: each for key, each in value.items() if each not in (None, "", [], {})}
    return json.dumps(value, ensure_ascii=False)
