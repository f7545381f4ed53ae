"""The feed of changes: each execution once, at its latest change.

Triggers maintain the table: an execution that changes moves to its end.
"""

import time
from typing import Any

from koco.store.engine.protocol import Connection, Rows
from koco.store.executions.rows import EXECUTIONS
from koco.store.model import EVERYTHING, Change, ChangePage, Sight
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions
from koco.store.sql.table import columns

#: The time limit for finding one page (seconds).
_BUDGET_S = 0.25
#: How many changes are examined at once. Few of them may be in sight.
_PIECE = 2000
#: All changes of a user with fewer executions are found by these.
_FEW = 2000
_OF_FEW = """(
    SELECT seq, execution, fid, flow, "user" FROM (
        SELECT c.* FROM executions e JOIN changes c ON c.execution = e.id
            WHERE e."user" = :sight_user
        UNION ALL SELECT * FROM changes WHERE fid IS NOT NULL AND "user" = :sight_user
    ) AS own WHERE seq > :after AND seq <= :upto ORDER BY seq LIMIT :most
)"""


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
    is_few = sight.user is not None and not sight.flows and _has_few(db, sight.user)
    source, piece = (_OF_FEW, end) if is_few else ("changes", _PIECE)
    while seq < end and left > 0 and len(items) < limit and time.monotonic() < until_s:
        upto = min(seq + piece, end)
        rows = _in_sight(db, source, seq, upto, sight, limit - len(items))
        seq = upto
        for number, fid, *row in rows:
            now = None if fid else EXECUTIONS.read(row)
            items.append(Change(number, now, now.fid if now else fid))
            left -= pages.size(row)
            if left <= 0 or len(items) == limit:
                seq = number
                break
        rows.close()
    return ChangePage(items, str(seq), seq >= end)


def _has_few(db: Connection, user: str) -> bool:
    some = 'SELECT 1 FROM executions WHERE "user" = :user LIMIT :few'
    count = f"SELECT count(*) FROM ({some}) AS own"
    return bool(db.execute(count, {"user": user, "few": _FEW}).fetchone()[0] < _FEW)


def _in_sight(db: Connection, source: str, after: int, upto: int, sight: Sight, limit: int) -> Rows:
    """Return the changes in sight: their number, the fid if it was deleted, and its row if not."""
    of_present, values = conditions(sight, db.dialect, of="e.")
    of_deleted, _ = conditions(sight, db.dialect, of="c.")
    bounds: dict[str, Any] = {"after": after, "upto": upto, "most": limit}
    return db.iterate(
        f"SELECT c.seq, c.fid, {columns(EXECUTIONS.names, of='e.')} FROM {source} c"
        " LEFT JOIN executions e ON e.id = c.execution"
        " WHERE c.seq > :after AND c.seq <= :upto AND"
        f" ({' AND '.join(['e.id IS NOT NULL', *of_present])}"
        f" OR {' AND '.join(['c.fid IS NOT NULL', *of_deleted])})"
        " ORDER BY c.seq LIMIT :most",
        {**bounds, **values},
    )
