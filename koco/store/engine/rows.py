"""The rows of all tables: copied from one database into another, and compared."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from koco.store.engine.protocol import Connection
from koco.store.errors import StoreError

#: The tables and the columns that order their rows. Rows come after those that they refer to.
TABLES = {
    "secrets": ("name",),
    "sealed": ("name",),
    "settings": ("name",),
    "limits": ("flow",),
    "cursors": ("name",),
    "keys": ("name",),
    "users": ("name",),
    "sessions": ("digest",),
    "replies": ("user", "key"),
    "audit": ("seq",),
    "releases": ("service", "number"),
    "schedules": ("service", "id"),
    "schedule_pauses": ("flow", "schedule"),
    "executions": ("id",),
    "chunks": ("id",),
    "producers": ("execution", "producer"),
    "pickles": ("execution",),
    "locks": ("lid",),
    "files": ("execution", "path"),
    "uploads": ("user", "sha256"),
    "steps": ("id",),
    "messages": ("id",),
    "usage": ("day", "flow", "user", "status", "bucket"),
    "webhooks": ("id",),
    "deliveries": ("id",),
    "payments": ("fid",),
}
#: Those that triggers fill when executions are copied, and one that has its row from the start:
#: what is there is replaced.
REPLACED = {
    "tallies": ("status",),
    "tags": ("tag", "execution"),
    "spans": ("block",),
    "changes": ("seq",),
    "audit_horizon": ("before",),
}
#: Says what full text search has indexed, which is made anew.
APART = ("indexed",)

#: How many rows are inserted at once, and their size (bytes).
_ROWS, _BYTES = 500, 4 * 1024 * 1024


def copy_all(
    source: Connection, target: Connection, go_on: Callable[[], None] = lambda: None
) -> None:
    """Copy the rows of all tables into a store that has none. Both are in a transaction.

    `go_on` is called in between, and may raise.
    """
    for table, key in TABLES.items():
        _copy(source, target, table, key, go_on)
    for table, key in REPLACED.items():
        target.execute(f"DELETE FROM {table}")
        _copy(source, target, table, key, go_on)
    last = "(SELECT coalesce(max(seq), 0) FROM changes)"
    target.execute(f"UPDATE indexed SET upto = {last}, above = {last}")
    target.dialect.note_copied(target)


def compare(source: Connection, target: Connection) -> dict[str, int]:
    """Compare all rows; return their numbers by table.

    Raises:
        StoreError: a table has other rows.
    """
    counts = {}
    for table, key in {**TABLES, **REPLACED}.items():
        ours, theirs = (_digest(db, table, key, source.names_of(table)) for db in (source, target))
        if ours != theirs:
            raise StoreError(
                f"the rows of the table {table} differ: {ours[0]:,} were to be copied,"
                f" {theirs[0]:,} are there",
                hint="nothing was copied; try it again",
            )
        counts[table] = ours[0]
    return counts


def is_empty(db: Connection) -> bool:
    """Whether a store has no rows at all."""
    rows = (db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in TABLES)
    return all(row is None for row in rows)


def _copy(
    source: Connection,
    target: Connection,
    table: str,
    key: Sequence[str],
    go_on: Callable[[], None],
) -> None:
    names = source.names_of(table)
    values = ", ".join(f":{name}" for name in names)
    into = f"INSERT INTO {table} ({_listed(names)}) VALUES ({values})"
    rows = _rows(source, table, key, names)
    while piece := list(_piece(rows)):
        go_on()
        target.executemany(into, [dict(zip(names, row, strict=True)) for row in piece])


def _rows(db: Connection, table: str, key: Sequence[str], names: Sequence[str]) -> Iterator[Any]:
    return iter(db.iterate(f"SELECT {_listed(names)} FROM {table} ORDER BY {_listed(key)}"))


def _piece(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield some rows, fewer if they are large."""
    left = _BYTES
    for row in islice(rows, _ROWS):
        yield row
        left -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if left <= 0:
            return


def _digest(
    db: Connection, table: str, key: Sequence[str], names: Sequence[str]
) -> tuple[int, bytes]:
    """Return the number of a table's rows, and a digest of all of them."""
    count, digest = 0, hashlib.sha256()
    for row in _rows(db, table, key, names):
        count += 1
        digest.update(msgspec.msgpack.encode([_comparable(value) for value in row]))
    return count, digest.digest()


def _comparable(value: Any) -> Any:
    """Return a value in the form that all engines give back."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")  # texts of PostgreSQL have no NUL
    return bytes(value) if isinstance(value, memoryview) else value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
