"""Usage: executions counted by day, flow, user and status, with their durations and bytes.

Executions that have ended are counted when they end, so that nobody has to count a million rows.
Their counts stay when they are deleted. Executions that have not ended are counted when somebody
asks.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import Any, NamedTuple

import msgspec

from koco.events.model import OPEN, Status
from koco.events.used import Used
from koco.store.engine.protocol import Connection, Dialect
from koco.store.errors import invalid_cursor
from koco.store.model import EVERYTHING, Page, Sight
from koco.store.sql.filters import any_of, conditions_of
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions
from koco.store.sql.table import column, columns, insertion, to_json

#: The columns that executions can be grouped by, in their order.
GROUPS = ("day", "service", "flow", "user", "status")

#: What is read of an execution that ends, see `Ended`.
_READ = (
    'SELECT flow, service, "user", created, started, event_bytes, used,'
    " (SELECT coalesce(sum(size_bytes), 0) FROM files WHERE execution = :id),"
    " (SELECT coalesce(sum(size_bytes), 0) FROM steps WHERE execution = :id)"
    " FROM executions WHERE id = :id"
)
#: The columns that are added up for a group; of the last one, the highest counts.
_SUMS = (
    *("executions", "duration_s", "event_bytes", "file_bytes", "wall_s", "cpu_s"),
    *("ray_tasks", "stored_bytes"),
)
_HIGHEST = "peak_memory_bytes"
#: Those that executions which have not ended add to.
_OF_OPEN = ("executions", "event_bytes")
#: Durations of one bucket differ by a fifth at most: there are four buckets for each doubling.
_PER_DOUBLING = 4
#: The bucket of executions that never ran, and the last bucket.
_NEVER_RAN, _LAST_BUCKET = -1, 160
#: The time limit of a query (seconds). Other scans wait for it.
_MOST_S = 20.0


class Ended(NamedTuple):
    """What is counted of an execution that ends."""

    flow: str
    service: str
    user: str
    created: str
    seconds: float | None
    event_bytes: int
    file_bytes: int
    #: None if it has never run.
    used: Used | None


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The groups to return, and a filter. `by` has some of `GROUPS`, in their order."""

    by: tuple[str, ...]
    #: From this day on, and before that day (`2026-05-31`, in UTC).
    since: str | None = None
    until: str | None = None
    flow: str | None = None
    user: str | None = None
    statuses: tuple[str, ...] = ()


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group of executions. Those of `GROUPS` by which it is not grouped are None.

    Durations are from the start to the end, of executions that have ended and ever started.
    """

    executions: int
    duration_s: float
    #: Within a tenth; None if no execution of the group has a duration.
    p50_s: float | None
    p95_s: float | None
    event_bytes: int
    #: The files of executions that have ended.
    file_bytes: int
    #: What executions that have ended used; see `koco.events.used`. The peak is of one execution.
    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    ray_tasks: int
    stored_bytes: int
    day: str | None = None
    service: str | None = None
    flow: str | None = None
    user: str | None = None
    status: str | None = None


class Usage(Repository):
    """Executions, counted."""

    async def page(
        self,
        query: UsageQuery,
        *,
        sight: Sight = EVERYTHING,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[UsageRow]:
        """Return groups in the order of their columns. Groups without executions are left out.

        Raises:
            UsageError: the cursor is invalid.
            TimedOutError: it takes too long.
        """
        after = _keys(cursor, query.by) if cursor is not None else None
        return await self._scan(lambda db: _page(db, query, sight, limit, after), most_s=_MOST_S)


def ended(db: Connection, execution: int, finished: str) -> Ended:
    """Return what is to be counted of an execution that ends at that time."""
    flow, service, user, created, started, event_bytes, used, file_bytes, step_bytes = db.execute(
        _READ, {"id": execution}
    ).fetchone()
    seconds = _seconds(started, finished)
    told = None
    if used is not None:
        told = msgspec.json.decode(used, type=Used)
    elif seconds is not None:
        told = Used(wall_s=seconds)  # its process died before it could tell
    if told is not None:
        stored = event_bytes + file_bytes + step_bytes
        told = msgspec.structs.replace(told, stored_bytes=stored)
    return Ended(flow, service, user, created, seconds, event_bytes, file_bytes, told)


def count(db: Connection, ended: Ended, *, status: Status) -> None:
    """Count an execution that has ended. Proofs, which have no service, are not counted."""
    if not ended.service:
        return
    used = ended.used or Used(stored_bytes=ended.event_bytes + ended.file_bytes)
    db.execute(
        _COUNT,
        {
            "day": ended.created[:10],
            "flow": ended.flow,
            "user": ended.user,
            "status": status,
            "bucket": _bucket(ended.seconds),
            "executions": 1,
            "duration_s": ended.seconds or 0.0,
            "event_bytes": ended.event_bytes,
            "file_bytes": ended.file_bytes,
            **msgspec.structs.asdict(used),
        },
    )


def _count_statement() -> str:
    names = ("day", "flow", "user", "status", "bucket", *_SUMS, _HIGHEST)
    sums = ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in _SUMS)
    return (
        f"{insertion('usage', names)} ON CONFLICT (day, flow, {column('user')}, status, bucket)"
        f" DO UPDATE SET {sums}, {_HIGHEST} = CASE WHEN usage.{_HIGHEST} > excluded.{_HIGHEST}"
        f" THEN usage.{_HIGHEST} ELSE excluded.{_HIGHEST} END"
    )


_COUNT = _count_statement()


def _seconds(started: str | None, finished: str) -> float | None:
    if started is None:
        return None
    duration = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    return max(duration.total_seconds(), 0.0)  # the clock may have been set back


def _bucket(seconds: float | None) -> int:
    if seconds is None:
        return _NEVER_RAN
    ms = max(seconds * 1000, 1.0)
    return min(math.floor(_PER_DOUBLING * math.log2(ms)), _LAST_BUCKET)


def _middle_s(bucket: int) -> float:
    """Return the duration in the middle of a bucket (seconds)."""
    return float(f"{2.0 ** ((bucket + 0.5) / _PER_DOUBLING) / 1000:.3g}")


def _page(
    db: Connection,
    query: UsageQuery,
    sight: Sight,
    limit: int,
    after: Sequence[str] | None,
) -> Page[UsageRow]:
    statement, values = _statement(db.dialect, query, sight, after)
    rows = db.iterate(statement, values)
    taken = list(islice(_grouped(rows, query.by), limit + 1))
    rows.close()
    items = taken[:limit]
    has_more = len(taken) > limit
    return Page(items, _cursor(items[-1], query.by) if has_more else None)


def _statement(
    dialect: Dialect, query: UsageQuery, sight: Sight, after: Sequence[str] | None
) -> tuple[str, dict[str, Any]]:
    """Return the query for sums by group and bucket, and its values."""
    ended, values = _conditions(dialect, query, sight)
    is_open = f"status IN ({', '.join(repr(each.value) for each in OPEN)})"
    open_ones = " AND ".join([is_open, "service <> ''", *ended])
    ended_ones = f" WHERE {' AND '.join(ended)}" if ended else ""
    counted = 'flow, "user", status'
    sums = ", ".join((*_SUMS, _HIGHEST))
    none = ", ".join(f"0 AS {name}" for name in (*_SUMS, _HIGHEST) if name not in _OF_OPEN)
    executions = dialect.by_index("executions", "executions_by_status")
    source = (
        f"SELECT day, {counted}, bucket, {sums} FROM"
        f" (SELECT day AS created, usage.* FROM usage) AS ended{ended_ones}"
        f" UNION ALL SELECT day, {counted}, {_NEVER_RAN}, {sums} FROM"
        f" (SELECT substr(created, 1, 10) AS day, {counted}, 1 AS executions, event_bytes, {none}"
        f" FROM {executions} WHERE {open_ones}) AS open"
    )
    keys, service = columns(query.by), dialect.before("flow", "/")
    added = ", ".join(f"sum({name})" for name in _SUMS)
    where = ""
    if after is not None:
        names = [f"after_{number}" for number in range(len(after))]
        where = f" WHERE ({keys}) > ({', '.join(f':{name}' for name in names)})"
        values |= dict(zip(names, after, strict=True))
    return (
        f"SELECT {keys}, bucket, {added}, max({_HIGHEST}) FROM"
        f" (SELECT *, {service} AS service FROM ({source}) AS each_one) AS counted{where}"
        f" GROUP BY {keys}, bucket ORDER BY {keys}, bucket",
        values,
    )


def _conditions(
    dialect: Dialect, query: UsageQuery, sight: Sight
) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions of a filter and a sight. A day sorts before each time of that day."""
    found, values = conditions(sight, dialect)
    filters, asked = conditions_of(
        {
            "created >= :since": query.since,
            "created < :until": query.until,
            "flow = :flow": query.flow,
            f"{column('user')} = :user": query.user,
        }
    )
    one_of, statuses = any_of("status", "status", query.statuses)
    return [*found, *filters, *one_of], {**values, **asked, **statuses}


def _grouped(rows: Any, by: tuple[str, ...]) -> Iterator[UsageRow]:
    """Yield a group for all consecutive rows with the same keys."""
    size = len(by)
    for keys, found in groupby(rows, key=lambda row: row[:size]):
        parts = [row[size:] for row in found]
        durations = [(bucket, count) for bucket, count, *_ in parts if bucket != _NEVER_RAN]
        sums = {name: sum(part[at] for part in parts) for at, name in enumerate(_SUMS, 1)}
        seconds = {name: round(sums.pop(name), 3) for name in ("duration_s", "wall_s", "cpu_s")}
        yield UsageRow(
            **sums,
            **seconds,
            p50_s=_percentile(durations, 0.50),
            p95_s=_percentile(durations, 0.95),
            peak_memory_bytes=max(part[-1] for part in parts),
            **dict(zip(by, keys, strict=True)),
        )


def _percentile(durations: list[tuple[int, int]], part: float) -> float | None:
    """Return the duration that a part of the executions does not exceed. Buckets are in order."""
    left = part * sum(count for _, count in durations)
    for bucket, count in durations:
        left -= count
        if left <= 0:
            return _middle_s(bucket)
    return None


def _cursor(row: UsageRow, by: tuple[str, ...]) -> str:
    keys = to_json([getattr(row, name) for name in by])
    return base64.urlsafe_b64encode(keys.encode()).decode().rstrip("=")


def _keys(cursor: str, by: tuple[str, ...]) -> list[str]:
    """Return the group in a cursor.

    Raises:
        UsageError: no page of these groups has issued it.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        keys = msgspec.json.decode(text, type=list[str])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        keys = []
    if len(keys) != len(by):
        raise invalid_cursor(cursor[:80])
    return keys
