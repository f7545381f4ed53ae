"""`koco releases`: list a service's releases, or show one."""

import functools
from typing import Annotated

from koco.cli import connection, pages
from koco.cli.parameters import Argument, Option
from koco.cli.terminal import output, times
from koco.client.answers import ListedRelease, Origin, Release

_STYLES = {"live": "green", "failed": "red", "retired": "dim", "starting": "cyan"}

#: The length of a commit in a list (characters).
_COMMIT = 8


def command(
    service: Annotated[str, Argument(metavar="SERVICE", help="The service's name.")],
    number: Annotated[
        int | None,
        Argument(metavar="[N]", min=1, help="The release to show: its number."),
    ] = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="The maximum number of releases.")] = 20,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """List a service's releases, newest first, or show one.

    Example: koco releases hello 7
    """
    client = connection.connect()
    if number is not None:
        release = client.release(service, number)
        output.print_json(release) if as_json else _show(release)
        return
    page = pages.gather(functools.partial(client.releases, service), limit)
    if as_json:
        output.print_json(page)
        return
    if output.is_terminal():
        columns = ("RELEASE", "STATUS", "CREATED", "BY", "COMMIT", "READY IN", "NOTE")
        output.print_table(columns, map(_short_row, page["items"]), styles=_STYLES, widest="NOTE")
    else:
        columns = ("release", "status", "created", "by", "commit", "ready_s", "note")
        output.print_table(columns, map(_row, page["items"]))
    pages.tell_more(page, limit)


def _short_row(item: ListedRelease) -> tuple[str, ...]:
    ready_s = _ready_s(item)
    return (
        str(item["number"]),
        item["status"],
        times.ago(item["created"]),
        item["by"],
        _commit(item["origin"], _COMMIT) or "-",
        times.short(ready_s) if ready_s is not None else "-",
        _note(item),
    )


def _row(item: ListedRelease) -> tuple[str, ...]:
    ready_s = _ready_s(item)
    return (
        str(item["number"]),
        item["status"],
        item["created"],
        item["by"],
        _commit(item["origin"]) or "-",
        f"{ready_s:.3f}" if ready_s is not None else "-",
        _note(item) or "-",
    )


def _ready_s(item: ListedRelease) -> float | None:
    """Return the time from the start of the upload until it was ready (seconds)."""
    if not item["ready"]:
        return None
    return times.seconds(item["created"], item["ready"]) + float(item["timings"].get("upload", 0))


def _commit(origin: Origin, length: int | None = None) -> str:
    """Return the commit, with a `+` if files differed from it."""
    commit = str(origin.get("commit") or "")[:length]
    return f"{commit}+" if commit and origin.get("dirty") else commit


def _note(item: ListedRelease) -> str:
    """Return a note: which release it repeats, and why it failed."""
    notes = []
    if number := item["origin"].get("rollback_of"):
        because = item["origin"].get("because")
        notes.append(f"as release {number}" + (f", as {because}" if because else ""))
    if error := item["error"]:
        notes.append(str(error.get("message", "")).partition("\n")[0])
    return "; ".join(notes)


def _show(release: Release) -> None:
    for label, value in _facts(release):
        output.print_line(f"{label:<12} {value}")
    if error := release["error"]:
        output.print_line(f"{'error':<12} {error.get('message')}")
        if detail := error.get("detail"):
            output.print_line("")
            output.print_line(str(detail))
        if hint := error.get("hint"):
            output.note(f"hint: {hint}")


def _facts(release: Release) -> list[tuple[str, str]]:
    origin, timings = release["origin"], release["timings"]
    facts = [
        ("service", release["service"]),
        ("release", release["number"]),
        ("status", release["status"]),
        ("created", times.at(release["created"])),
        ("by", release["by"]),
        ("project", origin.get("project")),
        ("commit", _commit(origin).replace("+", ", with changes")),
        ("goes back to", f"release {origin['rollback_of']}" if origin.get("rollback_of") else None),
        ("because", origin.get("because")),
        ("ready", release["ready"] and times.at(release["ready"])),
        ("took", ", ".join(f"{part} {took_s:g} s" for part, took_s in timings.items())),
        ("retired", release["retired"] and times.at(release["retired"])),
        ("bundle", release["bundle"] + ("" if release["available"] else " (collected)")),
        ("flows", ", ".join(flow["name"] for flow in release["flows"])),
    ]
    return [(label, str(value)) for label, value in facts if value]
