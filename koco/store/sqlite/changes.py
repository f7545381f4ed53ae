"""SQL for the feed of changes: each execution once, at its latest change.

Triggers maintain the table (`schema`): an execution that changes moves to its end.
"""

import sqlite3
import time

from koco.store.model import Change, ChangePage, Sight
from koco.store.sqlite import executions, pages, sights

#: The time limit for finding one page (seconds).
BUDGET_S = 0.25
#: How many changes are examined at once. Few of them may be in sight.
_PIECE = 2000


def last(db: sqlite3.Connection) -> str:
    """Return the cursor after the latest change."""
    row = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
    return str(row[0])


def page(
    db: sqlite3.Connection,
    *,
    cursor: str | None,
    sight: Sight,
    limit: int,
    budget_s: float = BUDGET_S,
) -> ChangePage:
    """Return the changes after a cursor, in order; see `Store.changes`."""
    until_s = time.monotonic() + budget_s
    seq = pages.number(cursor) if cursor is not None else 0
    items: list[Change] = []
    left, end = pages.PAGE_BYTES, int(last(db))
    while seq < end and left > 0 and len(items) < limit and time.monotonic() < until_s:
        upto = min(seq + _PIECE, end)
        found = _seen(db, seq, upto, sight, limit - len(items))
        is_full = len(items) + len(found) == limit
        seq = found[-1][0] if is_full else upto
        for number, execution, fid in found:
            row = None if fid else executions.row(db, execution)
            read = executions.read(row) if row else None
            items.append(Change(number, read, read.fid if read else fid or ""))
            left -= pages.size(row or ())
            if left <= 0:
                seq = number
                break
    return ChangePage(items, str(seq), seq >= end)


def _seen(
    db: sqlite3.Connection, after: int, upto: int, sight: Sight, limit: int
) -> list[tuple[int, int, str | None]]:
    """Return the changes in sight, after one number and up to another."""
    wheres, values = sights.wheres(sight, of="e.")
    of_deleted, _ = sights.wheres(sight, of="c.")
    return db.execute(
        "SELECT c.seq, c.execution, c.fid FROM changes c"
        " LEFT JOIN executions e ON e.id = c.execution"
        " WHERE c.seq > ? AND c.seq <= ? AND"
        f" ({' AND '.join(['e.id IS NOT NULL', *wheres])}"
        f" OR {' AND '.join(['c.fid IS NOT NULL', *of_deleted])})"
        " ORDER BY c.seq LIMIT ?",
        [after, upto, *values, *values, limit],
    ).fetchall()
