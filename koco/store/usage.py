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
from koco.store.engine.protocol import Connection, Dialect
from koco.store.errors import invalid_cursor
from koco.store.model import EVERYTHING, Page, Sight
from koco.store.sql.filters import any_of, conditions_of
from koco.store.sql.repository import Repository
from koco.store.sql.sight import conditions
from koco.store.sql.table import column, columns, to_json

#: The columns that executions can be grouped by, in their order.
GROUPS = ("day", "flow", "user", "status")
#: The columns of executions that `Ended` holds.
COUNTED = 'flow, service, "user", created, started, event_bytes'

#: Durations of one bucket differ by a fifth at most: there are four buckets for each doubling.
_PER_DOUBLING = 4
#: The bucket of executions that never ran, and the last bucket.
_NEVER_RAN, _LAST_BUCKET = -1, 160
#: The time limit of a query (seconds). Other scans wait for it.
_MOST_S = 20.0


class Ended(NamedTuple):
    """The columns of an execution that are counted when it ends."""

    flow: str
    service: str
    user: str
    created: str
    started: str | None
    event_bytes: int


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
    """A group of executions. Those of `day`, `flow`, `user` and `status` by which it is not grouped
    are None.

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
    day: str | None = None
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


def count(db: Connection, execution: int, ended: Ended, *, status: Status, finished: str) -> None:
    """Count an execution that ends. Proofs, which have no service, are not counted."""
    if not ended.service:
        return
    seconds = _seconds(ended.started, finished)
    db.execute(
        'INSERT INTO usage (day, flow, "user", status, bucket, executions, duration_s, event_bytes,'
        " file_bytes) VALUES (:day, :flow, :user, :status, :bucket, 1, :seconds, :event_bytes,"
        " (SELECT coalesce(sum(size_bytes), 0) FROM files WHERE execution = :execution))"
        ' ON CONFLICT (day, flow, "user", status, bucket) DO UPDATE SET'
        " executions = usage.executions + 1,"
        " duration_s = usage.duration_s + excluded.duration_s,"
        " event_bytes = usage.event_bytes + excluded.event_bytes,"
        " file_bytes = usage.file_bytes + excluded.file_bytes",
        {
            "day": ended.created[:10],
            "flow": ended.flow,
            "user": ended.user,
            "status": status,
            "bucket": _bucket(seconds),
            "seconds": seconds or 0.0,
            "event_bytes": ended.event_bytes,
            "execution": execution,
        },
    )


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
    rows = db.execute(statement, values)
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
    executions = dialect.by_index("executions", "executions_by_status")
    source = (
        f"SELECT day, {counted}, bucket, executions, duration_s, event_bytes, file_bytes FROM"
        f" (SELECT day AS created, usage.* FROM usage) AS ended{ended_ones}"
        f" UNION ALL SELECT substr(created, 1, 10), {counted}, {_NEVER_RAN}, 1, 0.0, event_bytes, 0"
        f" FROM {executions} WHERE {open_ones}"
    )
    keys = columns(query.by)
    where = ""
    if after is not None:
        names = [f"after_{number}" for number in range(len(after))]
        where = f" WHERE ({keys}) > ({', '.join(f':{name}' for name in names)})"
        values |= dict(zip(names, after, strict=True))
    return (
        f"SELECT {keys}, bucket, sum(executions), sum(duration_s), sum(event_bytes),"
        f" sum(file_bytes) FROM ({source}) AS counted{where}"
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
        yield UsageRow(
            executions=sum(part[1] for part in parts),
            duration_s=round(sum(part[2] for part in parts), 3),
            p50_s=_percentile(durations, 0.50),
            p95_s=_percentile(durations, 0.95),
            event_bytes=sum(part[3] for part in parts),
            file_bytes=sum(part[4] for part in parts),
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
