"""SQL for the audit log."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from koco.events import line
from koco.store.model import AuditEntry, AuditPage, AuditQuery
from koco.store.sqlite import pages

_COLUMNS = tuple(name for name in AuditEntry.__struct_fields__ if name != "seq")
_INSERT = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
#: The most text that an entry keeps of each field (characters), because callers choose some of
#: them.
_LONGEST = 300


def add(db: sqlite3.Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries; see `Store.note`."""
    now = line.timestamp()
    db.executemany(_INSERT, [_row(entry, now) for entry in entries])


def listing(path: Path, query: AuditQuery, *, limit: int, cursor: str | None) -> AuditPage:
    """Return a page of entries, read from the file of a store; see `Store.audit`."""
    wheres, values = _wheres(query)
    if cursor is not None:
        wheres.append("seq < ?")
        values.append(pages.number(cursor))
    where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
    columns = ", ".join(AuditEntry.__struct_fields__)
    what = f"SELECT {columns} FROM audit {where} ORDER BY seq DESC LIMIT ?"
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        taken, more = pages.take(db.execute(what, [*values, limit + 1]), limit)
    items = [_entry(row) for row in taken]
    return AuditPage(items, str(items[-1].seq) if more else None)


def _wheres(query: AuditQuery) -> tuple[list[str], list[Any]]:
    wheres: list[str] = []
    values: list[Any] = []
    for name in ("who", "action"):
        if (value := getattr(query, name)) is not None:
            wheres.append(f"{name} = ?")
            values.append(value)
    if query.target is not None:
        below = f"{query.target}/"
        wheres.append("(target = ? OR substr(target, 1, ?) = ?)")
        values += [query.target, len(below), below]
    if query.outcome is not None:
        wheres.append("outcome <> 'ok'" if query.outcome == "refused" else "outcome = ?")
        values += [] if query.outcome == "refused" else [query.outcome]
    for sign, time in ((">=", query.since), ("<", query.until)):
        if time is not None:
            wheres.append(f"ts {sign} ?")
            values.append(time)
    return wheres, values


def _row(entry: AuditEntry, now: str) -> tuple[Any, ...]:
    detail = line.encode_payload(entry.detail).decode() if entry.detail else None
    changes = {"ts": now, "detail": detail}
    return tuple(changes[name] if name in changes else _text(entry, name) for name in _COLUMNS)


def _text(entry: AuditEntry, name: str) -> str:
    text: str = getattr(entry, name)
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode("utf-8")


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    fields = dict(zip(AuditEntry.__struct_fields__, row, strict=True))
    fields["detail"] = msgspec.json.decode(fields["detail"] or "{}")
    return AuditEntry(**fields)
