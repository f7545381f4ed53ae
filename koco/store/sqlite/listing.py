"""SQL for lists of executions: every filter at once, newest first.

Each filter with an index gives a source of ids in their order. The source with the fewest ids is
scanned, and the other filters are checked on its ids. If few of many match, that takes long, so
the page ends after a time limit, with a cursor for the rest.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import msgspec

from koco.store.model import Filter, Page, Sight
from koco.store.sqlite import executions, pages, search, sights

#: The time limit for finding a page (seconds).
BUDGET_S = 0.25
#: A source with fewer ids than that is scanned to its end.
_FEW = 200
#: The most ids that are read from a source at once.
_MANY = 5000
#: A source that would have more parts than that is not used.
_PARTS = 64
_LAST = 2**62
#: Up to this many are found on the loop if an index alone finds them: a thread switch takes
#: longer.
_AT_ONCE = 100


def is_at_once(wanted: Filter, sight: Sight, limit: int) -> bool:
    """Whether finding a page takes no longer than reading it, whatever the store holds."""
    narrowing = (wanted.search, wanted.service, wanted.since, wanted.until)
    is_narrowed = any(each is not None for each in narrowing) or wanted.tags or sight.flows
    is_somebodys = wanted.user is not None or sight.user is not None
    return limit <= _AT_ONCE and not is_narrowed and not (is_somebodys and wanted.flow is not None)


class Source(NamedTuple):
    """A source of ids: a table, the column with the ids, and conditions with their values."""

    table: str
    column: str
    parts: list[tuple[str, list[Any]]]

    def ids(self, db: sqlite3.Connection, low: int, high: int, limit: int) -> list[int]:
        """Return the highest ids from `low` to below `high`."""
        # Each part alone is in its index's order. All together would have to be sorted.
        part = (
            f"SELECT * FROM (SELECT {self.column} FROM {self.table} WHERE %s"
            f" AND {self.column} >= ? AND {self.column} < ? ORDER BY {self.column} DESC LIMIT ?)"
        )
        statement = " UNION ALL ".join(part % condition for condition, _ in self.parts)
        values: list[Any] = []
        for _, given in self.parts:
            values += [*given, low, high, limit]
        rows = db.execute(f"{statement} ORDER BY 1 DESC LIMIT ?", [*values, limit])
        return [row[0] for row in rows]


def page(
    db: sqlite3.Connection,
    wanted: Filter,
    *,
    sight: Sight,
    limit: int,
    cursor: str | None,
    budget_s: float = BUDGET_S,
) -> Page:
    """Return a page of executions; see `Store.executions`."""
    until_s = time.monotonic() + budget_s
    low, high = _range(db, wanted)
    if cursor is not None:
        high = min(high, pages.number(cursor))
    match = search.expression(wanted.search) if wanted.search is not None else None
    flows = _flows(db, wanted, sight)
    is_nobodys = sight.user is not None and wanted.user not in (None, sight.user)
    if is_nobodys or flows == []:
        return Page([], None)
    source = _source(db, _sources(wanted, sight, flows, match), low, high)
    scan = _Scan(db, source, wanted, sight=sight, match=match, flows=flows)
    taken, more = pages.take(scan.rows(low, high, limit + 1, until_s), limit)
    items = [executions.read(row) for row in taken]
    complete = match is None or search.is_complete(db)
    return Page(items, str(items[-1].id) if more else scan.rest, complete)


def _range(db: sqlite3.Connection, wanted: Filter) -> tuple[int, int]:
    """Return the range of ids (end excluded) that holds all executions of the wanted times."""
    low, high = 0, _LAST
    if wanted.since is not None:
        row = db.execute(
            "SELECT block FROM spans WHERE latest >= ? ORDER BY block LIMIT 1", (wanted.since,)
        ).fetchone()
        low = row[0] * 1000 if row else _LAST
    if wanted.until is not None:
        row = db.execute(
            "SELECT block FROM spans WHERE earliest < ? ORDER BY block DESC LIMIT 1",
            (wanted.until,),
        ).fetchone()
        high = (row[0] + 1) * 1000 if row else 0
    return low, high


def _flows(db: sqlite3.Connection, wanted: Filter, sight: Sight) -> list[str] | None:
    """Return the wanted flows that are in sight, or None if that is all or too many of them."""
    if wanted.flow is not None:
        flows = [wanted.flow]
    elif wanted.service is not None:
        flows = list(_known(db, f"{wanted.service}/"))
    elif sight.flows:
        found = [
            _known(db, each.partition("*")[0]) if "*" in each else [each] for each in sight.flows
        ]
        flows = [flow for flows in found for flow in flows]
    else:
        return None
    if wanted.service is not None:
        flows = [flow for flow in flows if flow.startswith(f"{wanted.service}/")]
    if sight.flows:
        fits = " OR ".join(["value GLOB ?"] * len(sight.flows))
        rows = db.execute(
            f"SELECT DISTINCT value FROM json_each(?) WHERE {fits}",
            [msgspec.json.encode(flows).decode(), *sight.flows],
        )
        flows = [row[0] for row in rows]
    return flows if len(flows) <= _PARTS else None


def _known(db: sqlite3.Connection, prefix: str) -> Iterator[str]:
    """Yield the names of flows that ever ran and have a prefix, up to a few more than usable."""
    last, end, count = prefix, prefix + "\U0010ffff", 0
    while count <= _PARTS:
        # One step in the index per name, however many executions it has.
        row = db.execute(
            "SELECT flow FROM executions WHERE flow > ? AND flow < ? ORDER BY flow LIMIT 1",
            (last, end),
        ).fetchone()
        if row is None:
            return
        count, last = count + 1, row[0]
        yield last


def _sources(
    wanted: Filter, sight: Sight, flows: Sequence[str] | None, match: str | None
) -> list[Source]:
    """Return the possible sources; those likely to have few ids come first."""
    found: list[Source] = []
    user = wanted.user if sight.user is None else sight.user
    if match is not None:
        found.append(Source("search", "rowid", [("search MATCH ?", [match])]))
    found += [Source("tags", "execution", [("tag = ?", [tag])]) for tag in wanted.tags]
    if user is not None:
        found.append(_by("user", [user], wanted.statuses))
    if flows is not None:
        found.append(_by("flow", flows, wanted.statuses))
    if wanted.statuses and user is None and flows is None:
        parts = [("status = ?", [status]) for status in wanted.statuses]
        found.append(Source("executions INDEXED BY executions_by_status", "id", parts))
    return found or [Source("executions", "id", [("1", [])])]


def _by(column: str, names: Sequence[str], statuses: Sequence[str]) -> Source:
    """Return a source of the executions of users or of flows, with some statuses or all."""
    if statuses and len(names) * len(statuses) <= _PARTS:
        index = f"executions INDEXED BY executions_by_{column}_and_status"
        pairs = product(names, statuses)
        return Source(index, "id", [(f"{column} = ? AND status = ?", [*pair]) for pair in pairs])
    index = f"executions INDEXED BY executions_by_{column}"
    return Source(index, "id", [(f"{column} = ?", [name]) for name in names])


def _source(db: sqlite3.Connection, sources: list[Source], low: int, high: int) -> Source:
    """Return the source with the fewest ids, according to a sample."""
    if len(sources) == 1:
        return sources[0]
    counts = [len(each.ids(db, low, high, _FEW)) for each in sources]
    return sources[counts.index(min(counts))]


class _Scan:
    """Scan a source. `rest` is the cursor to continue from if the time limit was reached."""

    def __init__(
        self,
        db: sqlite3.Connection,
        source: Source,
        wanted: Filter,
        *,
        sight: Sight,
        match: str | None,
        flows: Sequence[str] | None,
    ) -> None:
        self.rest: str | None = None
        self._db = db
        self._source = source
        # Proofs have no service, so this leaves them out.
        wheres, values = sights.wheres(sight, of="e.")
        wheres.append("e.service <> ''")
        for column in ("flow", "service", "user"):
            if (value := getattr(wanted, column)) is not None:
                wheres.append(f"e.{column} = ?")
                values.append(value)
        if wanted.statuses:
            wheres.append(f"e.status IN ({', '.join('?' * len(wanted.statuses))})")
            values += wanted.statuses
        for column, sign, time_ in (
            ("created", ">=", wanted.since),
            ("created", "<", wanted.until),
        ):
            if time_ is not None:
                wheres.append(f"e.{column} {sign} ?")
                values.append(time_)
        for tag in wanted.tags:
            wheres.append("EXISTS (SELECT 1 FROM tags WHERE tag = ? AND execution = e.id)")
            values.append(tag)
        if match is not None and source.table != "search":
            wheres.append("EXISTS (SELECT 1 FROM search WHERE search MATCH ? AND rowid = e.id)")
            values.append(match)
        self._where = " AND ".join(wheres)
        self._values = values

    def rows(self, low: int, high: int, limit: int, until_s: float) -> Iterator[tuple[Any, ...]]:
        """Yield the matching rows, newest first."""
        while ids := self._source.ids(self._db, low, high, limit):
            for number in self._fitting(ids):
                if row := executions.row(self._db, number):
                    yield row
            high = ids[-1]
            if len(ids) < limit:
                return
            if time.monotonic() > until_s:
                self.rest = str(high)
                return
            limit = min(limit * 4, _MANY)

    def _fitting(self, ids: list[int]) -> list[int]:
        rows = self._db.execute(
            f"SELECT e.id FROM json_each(?) AS given CROSS JOIN executions e ON e.id = given.value"
            f" WHERE {self._where} ORDER BY given.key",
            [msgspec.json.encode(ids).decode(), *self._values],
        )
        return [row[0] for row in rows]
