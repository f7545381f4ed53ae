"""Lists of executions by their latest change of status, the newest first.

The table of changes has each execution once, in that order. An execution that changes meanwhile
moves to the beginning of the list: a reader of later pages does not see it again there.
"""

import time
from typing import NamedTuple

from koco.store.engine.protocol import Connection
from koco.store.executions.listing import BUDGET_S, Scan, Source
from koco.store.executions.rows import EXECUTIONS, fetch_all
from koco.store.model import Execution, Filter, Sight
from koco.store.sql import pages

#: How many changes are examined at once. Few of them may match.
_PIECE = 2000
_LAST = 2**62


class RecentPage(NamedTuple):
    """A page of executions, its successor's cursor, and how many match, here and after it.

    If finding them took too long, it may be short and still have a successor, and `total` has
    only those that were found.
    """

    items: list[Execution]
    next: str | None
    total: int


def page(
    db: Connection, wanted: Filter, *, sight: Sight, limit: int, cursor: str | None
) -> RecentPage:
    """Return a page of executions. The filter has no search and no times."""
    until_s = time.monotonic() + BUDGET_S
    before = pages.number(cursor) if cursor is not None else _LAST
    scan = Scan(db, Source("executions", "id", [], {}), wanted, sight=sight, match=None)
    found: list[tuple[int, int]] = []  # the number of the change, and the execution's
    is_whole = is_late = False
    while not is_whole and not is_late:
        piece = _changes(db, wanted, before)
        is_whole = len(piece) < _PIECE
        fitting = set(scan.fitting([execution for _, execution in piece]))
        found += [each for each in piece if each[1] in fitting]
        before = piece[-1][0] if piece else before
        is_late = time.monotonic() > until_s
    listed = [execution for _, execution in found[:limit]]
    rows = {row[0]: row for row in fetch_all(db, sorted(listed, reverse=True))}
    items = [EXECUTIONS.read(rows[number]) for number in listed if number in rows]
    if len(found) > limit:
        return RecentPage(items, str(found[limit - 1][0]), len(found))
    return RecentPage(items, None if is_whole else str(before), len(found))


def _changes(db: Connection, wanted: Filter, before: int) -> list[tuple[int, int]]:
    """Return changes before one, and the executions of which they are; the latest first."""
    values = {"before": before, "most": _PIECE, "tag": wanted.tags[0] if wanted.tags else None}
    tagged = "JOIN tags t ON t.execution = c.execution AND t.tag = :tag" if wanted.tags else ""
    return db.execute(
        f"SELECT c.seq, c.execution FROM changes c {tagged}"
        " WHERE c.seq < :before ORDER BY c.seq DESC LIMIT :most",
        values,
    ).fetchall()
