"""The audit log. Its entries never change."""

from collections.abc import Sequence
from typing import Any

from koco.events import line
from koco.store.engine.protocol import Connection
from koco.store.model import AuditEntry, AuditQuery, Page
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table, insertion, payload_to_json

#: The most text that an entry keeps of each field (characters), because callers choose some of
#: them.
_LONGEST = 300

_AUDIT = Table("audit", AuditEntry, json=("detail",))
_COLUMNS = [name for name in _AUDIT.names if name != "seq"]
_INSERT = insertion("audit", _COLUMNS)


class Audit(Repository):
    """The entries of the audit log."""

    async def add(self, entries: list[AuditEntry]) -> None:
        """Add to the log."""
        await self._write(lambda db: add(db, entries))

    async def page(
        self, query: AuditQuery, *, limit: int = 50, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Return entries, newest first. A cursor stays valid while entries are added."""
        before = pages.number(cursor) if cursor is not None else None
        # Apart, because it may read all of a long log.
        return await self._scan(lambda db: _page(db, query, before, limit), apart=True)


def add(db: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries to the log."""
    now = line.timestamp()
    db.executemany(_INSERT, [_values(entry, now) for entry in entries])


def _page(db: Connection, query: AuditQuery, before: int | None, limit: int) -> Page[AuditEntry]:
    conditions, values = _conditions(query)
    if before is not None:
        conditions.append("seq < :before")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    newest_first = f"{where} ORDER BY seq DESC"
    return _AUDIT.page(db, limit, lambda entry: entry.seq, newest_first, before=before, **values)


def _conditions(query: AuditQuery) -> tuple[list[str], dict[str, Any]]:
    wanted = {
        "who": "who = :who",
        "action": "action = :action",
        "target": "(target = :target OR substr(target, 1, length(:below)) = :below)",
        "outcome": "outcome <> 'ok'" if query.outcome == "refused" else "outcome = :outcome",
        "since": "ts >= :since",
        "until": "ts < :until",
    }
    values = {name: value for name in wanted if (value := getattr(query, name)) is not None}
    return [wanted[name] for name in values], {**values, "below": f"{query.target}/"}


def _values(entry: AuditEntry, now: str) -> dict[str, Any]:
    detail = payload_to_json(entry.detail) if entry.detail else None
    texts = {name: _text(getattr(entry, name)) for name in _COLUMNS if name != "detail"}
    return {**texts, "ts": now, "detail": detail}


def _text(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode("utf-8")
