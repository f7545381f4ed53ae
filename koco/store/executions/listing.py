"""Lists of executions: every filter at once, newest first.

Each filter with an index gives a source of ids in their order. The source with the fewest ids is
scanned, and the other filters are checked on its ids. If few of many match, that takes long, so
the page ends after a time limit, with a cursor for the rest.
"""

import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, NamedTuple

from koco.store.engine.protocol import Connection, Dialect
from koco.store.executions import search
from koco.store.executions.rows import EXECUTIONS, fetch_all
from koco.store.executions.settled import Settled
from koco.store.model import Execution, ExecutionPage, Filter, Sight
from koco.store.sql import pages
from koco.store.sql.filters import any_of, conditions_of
from koco.store.sql.sight import conditions
from koco.store.sql.table import to_json

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
    narrowing = (wanted.search, wanted.service, wanted.parent, wanted.since, wanted.until)
    is_narrowed = any(each is not None for each in (*narrowing, wanted.retried))
    is_narrowed = is_narrowed or bool(wanted.tags or sight.flows)
    is_somebodys = wanted.user is not None or sight.user is not None
    return limit <= _AT_ONCE and not is_narrowed and not (is_somebodys and wanted.flow is not None)


#: Proofs have no service.
_NO_PROOF = "service <> ''"
#: Whether an execution was retried or resumed.
_RETRIED = (
    "(EXISTS (SELECT 1 FROM executions WHERE retry_of = e.fid)"
    " OR EXISTS (SELECT 1 FROM executions WHERE resume_of = e.fid))"
)


class Source(NamedTuple):
    """A source of ids: a table, the column with the ids, and conditions with their values."""

    table: str
    column: str
    conditions: list[str]
    values: dict[str, Any]

    def ids(self, db: Connection, low: int, high: int, limit: int) -> tuple[list[int], int]:
        """Return the highest ids from `low` to below `high`, and how far it came."""
        # Each part alone is in its index's order. All together would have to be sorted.
        part = (
            f"SELECT * FROM (SELECT {self.column} FROM {self.table} WHERE %s AND {self.column} >="
            f" :low AND {self.column} < :high ORDER BY {self.column} DESC LIMIT :most) AS part"
        )
        statement = " UNION ALL ".join(part % condition for condition in self.conditions)
        values = {**self.values, "low": low, "high": high, "most": limit}
        rows = db.execute(f"{statement} ORDER BY 1 DESC LIMIT :most", values)
        ids = [number for (number,) in rows]
        return ids, ids[-1] if len(ids) == limit else low


#: All executions.
EVERY_ONE = Source("executions", "id", [_NO_PROOF], {})


class Matches(NamedTuple):
    """The ids of executions that a search matches, as a source."""

    match: str

    def ids(self, db: Connection, low: int, high: int, limit: int) -> tuple[list[int], int]:
        """Return the highest ids from `low` to below `high`, and how far it came."""
        return db.dialect.search.find(db, self.match, low, high, limit)


def page(
    db: Connection,
    wanted: Filter,
    *,
    sight: Sight,
    limit: int,
    cursor: str | None,
    budget_s: float = BUDGET_S,
    settled: Settled | None = None,
) -> ExecutionPage:
    """Return a page of executions. `settled` has those that were read before."""
    until_s = time.monotonic() + budget_s
    low, high = _range(db, wanted)
    if cursor is not None:
        high = min(high, pages.number(cursor))
    is_search = wanted.search is not None
    match = db.dialect.search.match(search.parse(wanted.search or "")) if is_search else None
    flows = _flows(db, wanted, sight)
    is_nobodys = sight.user is not None and wanted.user not in (None, sight.user)
    if is_nobodys or flows == []:
        return ExecutionPage([], None)
    sources = _sources(db.dialect, wanted, sight, flows=flows, match=match)
    source = _best(db, sources, low, high)
    scan = Scan(db, source, wanted, sight=sight, match=match)
    found = scan.rows(low, high, limit + 1, until_s, settled)
    taken, more = pages.take(found, limit, size=lambda each: each[1])
    items = [each for each, _ in taken]
    is_complete = match is None or search.is_complete(db)
    return ExecutionPage(items, str(items[-1].id) if more else scan.rest, is_complete)


def _range(db: Connection, wanted: Filter) -> tuple[int, int]:
    """Return the range of ids (end excluded) that holds all executions of the wanted times."""
    low, high = 0, _LAST
    values = {"since": wanted.since, "until": wanted.until}
    if wanted.since is not None:
        first = "SELECT block FROM spans WHERE latest >= :since ORDER BY block LIMIT 1"
        found = db.execute(first, values).fetchone()
        low = found[0] * 1000 if found else _LAST
    if wanted.until is not None:
        last = "SELECT block FROM spans WHERE earliest < :until ORDER BY block DESC LIMIT 1"
        found = db.execute(last, values).fetchone()
        high = (found[0] + 1) * 1000 if found else 0
    return low, high


def _flows(db: Connection, wanted: Filter, sight: Sight) -> list[str] | None:
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
        fitting = (f for f in flows if any(fnmatchcase(f, pattern) for pattern in sight.flows))
        flows = list(dict.fromkeys(fitting))
    return flows if len(flows) <= _PARTS else None


def _known(db: Connection, prefix: str) -> Iterator[str]:
    """Yield the names of flows that ever ran and have a prefix, up to a few more than usable."""
    last, end, count = prefix, prefix + "\U0010ffff", 0
    while count <= _PARTS:
        # One step in the index per name, however many executions it has.
        found = db.execute(
            "SELECT flow FROM executions WHERE flow > :last AND flow < :end ORDER BY flow LIMIT 1",
            {"last": last, "end": end},
        ).fetchone()
        if found is None:
            return
        count, last = count + 1, found[0]
        yield last


def _sources(
    dialect: Dialect,
    wanted: Filter,
    sight: Sight,
    *,
    flows: Sequence[str] | None,
    match: str | None,
) -> list[Source | Matches]:
    """Return the possible sources; those likely to have few ids come first."""
    found: list[Source | Matches] = []
    user = wanted.user if sight.user is None else sight.user
    if match is not None:
        found.append(Matches(match))
    if wanted.parent is not None:
        table = dialect.by_index("executions", "executions_by_parent")
        found.append(Source(table, "id", ["parent = :parent"], {"parent": wanted.parent}))
    found += [Source("tags", "execution", ["tag = :tag"], {"tag": tag}) for tag in wanted.tags]
    if user is not None:
        found.append(_by(dialect, "user", [user], wanted.statuses))
    if flows is not None:
        found.append(_by(dialect, "flow", flows, wanted.statuses))
    if wanted.statuses and user is None and flows is None and wanted.parent is None:
        found.append(_by(dialect, "status", wanted.statuses, ()))
    return found or [EVERY_ONE]


def _by(dialect: Dialect, column: str, names: Sequence[str], statuses: Sequence[str]) -> Source:
    """Return a source of the executions with some names in a column, and some statuses or all."""
    is_narrow = statuses and len(names) * len(statuses) <= _PARTS
    index = f"executions_by_{column}_and_status" if is_narrow else f"executions_by_{column}"
    parts: list[str] = []
    values: dict[str, str] = {}
    for number, (name, status) in enumerate(product(names, statuses if is_narrow else (None,))):
        parts.append(f'"{column}" = :name_{number}')
        values[f"name_{number}"] = name
        if status is not None:
            parts[-1] += f" AND status = :status_{number}"
            values[f"status_{number}"] = status
    return Source(dialect.by_index("executions", index), "id", parts, values)


def _best(db: Connection, sources: list[Source | Matches], low: int, high: int) -> Source | Matches:
    """Return the source with the fewest ids, according to a sample.

    Of those with many, that is the one whose ids are the farthest apart.
    """
    if len(sources) == 1:
        return sources[0]
    samples = [each.ids(db, low, high, _FEW) for each in sources]
    top = max((ids[0] for ids, _ in samples if ids), default=low)

    def density(sample: tuple[list[int], int]) -> tuple[bool, float]:
        ids, reached = sample
        is_all = reached <= low
        return not is_all, len(ids) if is_all else len(ids) / (top + 1 - reached)

    return sources[min(range(len(samples)), key=lambda number: density(samples[number]))]


def numbered(
    db: Connection, ids: Sequence[int], wanted: Filter, *, sight: Sight
) -> list[Execution]:
    """Return the executions with some ids that match and are in sight, newest first."""
    scan = Scan(db, Source("executions", "id", [], {}), wanted, sight=sight, match=None)
    return [EXECUTIONS.read(row) for row in fetch_all(db, scan.fitting(ids))]


class Scan:
    """Scan a source. `rest` is the cursor to continue from if the time limit was reached."""

    def __init__(
        self,
        db: Connection,
        source: Source | Matches,
        wanted: Filter,
        *,
        sight: Sight,
        match: str | None,
    ) -> None:
        self.rest: str | None = None
        self._db = db
        self._source = source
        found, values = conditions(sight, db.dialect, of="e.")
        found.append(f"e.{_NO_PROOF}")
        filters, asked = conditions_of(
            {
                'e."user" = :user': wanted.user,
                "e.flow = :flow": wanted.flow,
                "e.service = :service": wanted.service,
                "e.parent = :parent": wanted.parent,
                "e.created >= :since": wanted.since,
                "e.created < :until": wanted.until,
            }
        )
        one_of, statuses = any_of("e.status", "status", wanted.statuses)
        found += [*filters, *one_of]
        if wanted.retried is not None:
            found.append(_RETRIED if wanted.retried else f"NOT {_RETRIED}")
        tags = {f"tag_{number}": tag for number, tag in enumerate(wanted.tags)}
        for name in tags:
            found.append(f"EXISTS (SELECT 1 FROM tags WHERE tag = :{name} AND execution = e.id)")
        index = db.dialect.search
        if match is not None and not isinstance(source, Matches):
            matching = f"SELECT 1 FROM {index.table} WHERE {index.condition}"
            found.append(f"EXISTS ({matching} AND {index.column} = e.id)")
        # Then the source's own condition is all of it.
        self._is_exact = source == EVERY_ONE and len(found) == 1
        self._where = " AND ".join(found)
        self._values = {**values, **asked, **statuses, **tags, "match": match}

    def rows(
        self, low: int, high: int, limit: int, until_s: float, settled: Settled | None = None
    ) -> Iterator[tuple[Execution, int]]:
        """Yield the matching executions with their sizes, newest first."""
        settled = settled or Settled()
        while high > low:
            ids, high = self._source.ids(self._db, low, high, limit)
            yield from settled.read(self._db, ids if self._is_exact else self.fitting(ids))
            if high > low and time.monotonic() > until_s:
                self.rest = str(high)
                return
            limit = min(limit * 4, _MANY)

    def fitting(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that match and are in sight, highest first."""
        given = self._db.dialect.numbers("ids")
        rows = self._db.execute(
            f"SELECT e.id FROM {given} AS given CROSS JOIN executions e"
            f" WHERE e.id = given.value AND {self._where}",
            {**self._values, "ids": to_json(ids)},
        )
        return sorted((number for (number,) in rows), reverse=True)
