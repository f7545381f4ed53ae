"""The feed of changes: each execution once, at its latest change.

Triggers maintain the table: an execution that changes moves to its end.
"""

import time
from typing import Any

from koco.store.engine.protocol import Connection
from koco.store.executions.rows import EXECUTIONS, fetch
from koco.store.model import EVERYTHING, Change, ChangePage, Sight
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions

#: The time limit for finding one page (seconds).
_BUDGET_S = 0.25
#: How many changes are examined at once. Few of them may be in sight.
_PIECE = 2000


class Changes(Repository):
    """New, changed and deleted executions."""

    async def page(
        self, *, cursor: str | None = None, sight: Sight = EVERYTHING, limit: int = 50
    ) -> ChangePage:
        """Return the changes after a cursor, or all of them: each execution at its latest.

        A page may be empty without being the last one.
        """
        after = pages.number(cursor) if cursor is not None else 0
        return await self._scan(lambda db: _page(db, after, sight, limit))

    async def latest(self) -> str:
        """Return the cursor after the latest change."""
        return str(await self._read(_latest))


def _latest(db: Connection) -> int:
    seq: int = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()[0]
    return seq


def _page(db: Connection, seq: int, sight: Sight, limit: int) -> ChangePage:
    until_s = time.monotonic() + _BUDGET_S
    items: list[Change] = []
    left, end = pages.PAGE_BYTES, _latest(db)
    while seq < end and left > 0 and len(items) < limit and time.monotonic() < until_s:
        upto = min(seq + _PIECE, end)
        found = _in_sight(db, seq, upto, sight, limit - len(items))
        is_full = len(items) + len(found) == limit
        seq = found[-1][0] if is_full else upto
        for number, execution, fid in found:
            row = None if fid else fetch(db, execution)
            now = EXECUTIONS.read(row) if row else None
            items.append(Change(number, now, now.fid if now else fid or ""))
            left -= pages.size(row or ())
            if left <= 0:
                seq = number
                break
    return ChangePage(items, str(seq), seq >= end)


def _in_sight(
    db: Connection, after: int, upto: int, sight: Sight, limit: int
) -> list[tuple[int, int, str | None]]:
    """Return `(seq, execution, fid)` of the changes in sight; the fid only of deleted ones."""
    of_present, values = conditions(sight, db.dialect, of="e.")
    of_deleted, _ = conditions(sight, db.dialect, of="c.")
    bounds: dict[str, Any] = {"after": after, "upto": upto, "most": limit}
    return db.execute(
        "SELECT c.seq, c.execution, c.fid FROM changes c"
        " LEFT JOIN executions e ON e.id = c.execution"
        " WHERE c.seq > :after AND c.seq <= :upto AND"
        f" ({' AND '.join(['e.id IS NOT NULL', *of_present])}"
        f" OR {' AND '.join(['c.fid IS NOT NULL', *of_deleted])})"
        " ORDER BY c.seq LIMIT :most",
        {**bounds, **values},
    ).fetchall()
