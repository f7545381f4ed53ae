"""The rows of all tables: copied from one database into another, and compared."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

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

#: How many rows a piece has at most, and their size (bytes).
_ROWS, _BYTES = 2000, 4 * 1024 * 1024
#: The rows of `cursors` that a store has only while one is copied into it: a mark of the source
#: (see `mark`), and the position of what was copied last.
_SOURCE, _POSITION = "copy:source", "copy:position"


class Piece(NamedTuple):
    """Some rows of a table, which may replace all that are there, and the position of the last."""

    table: str
    names: list[str]
    rows: list[Any]
    replaces: bool
    position: str


def pieces(source: Connection, after: str = "") -> Iterator[Piece]:
    """Yield the rows of all tables after a position. The connection is in a transaction."""
    begun, last = msgspec.json.decode(after, type=tuple[str, bytes]) if after else ("", b"")
    tables = {**TABLES, **REPLACED}
    for table, key in list(tables.items())[list(tables).index(begun) if begun else 0 :]:
        names = source.names_of(table)
        places = [names.index(name) for name in key]
        start = msgspec.msgpack.decode(last) if table == begun and last else None
        rows = _rows(source, table, key, names, after=start)
        replaces = table in REPLACED and start is None
        while (some := list(_some(rows))) or replaces:
            end = [_plain(some[-1][place]) for place in places] if some else None
            position = msgspec.json.encode((table, msgspec.msgpack.encode(end))).decode()
            yield Piece(table, names, some, replaces, position)
            replaces = False


def add(target: Connection, piece: Piece) -> None:
    """Insert a piece."""
    if piece.replaces:
        target.execute(f"DELETE FROM {piece.table}")
    values = ", ".join(f":{name}" for name in piece.names)
    into = f"INSERT INTO {piece.table} ({_listed(piece.names)}) VALUES ({values})"
    if piece.rows:
        target.executemany(into, [dict(zip(piece.names, row, strict=True)) for row in piece.rows])


def end(target: Connection) -> None:
    """Make a store that has all rows usable: search is to be indexed, new rows follow the last."""
    last = "(SELECT coalesce(max(seq), 0) FROM changes)"
    target.execute(f"UPDATE indexed SET upto = {last}, above = {last}")
    target.dialect.note_copied(target)


def copy_all(
    source: Connection, target: Connection, go_on: Callable[[], None] = lambda: None
) -> None:
    """Copy the rows of all tables into a store that has none. Both are in a transaction.

    `go_on` is called in between, and may raise.
    """
    for piece in pieces(source):
        go_on()
        add(target, piece)
    end(target)


def mark(source: Connection) -> str:
    """Return a mark of a store and of what is in it, as far as that can be seen at a glance."""
    secrets = source.execute("SELECT name, value FROM secrets ORDER BY name").fetchall()
    ends = [
        source.execute(f"SELECT max({key}) FROM {table}").fetchone()[0]
        for table, key in (("changes", "seq"), ("audit", "seq"), ("chunks", "id"), ("steps", "id"))
    ]
    content = msgspec.msgpack.encode([[[_plain(v) for v in row] for row in secrets], ends])
    return hashlib.sha256(content).hexdigest()


def state(target: Connection) -> tuple[str, str] | None:
    """Return the mark and the position of a copy into a store that is not finished, or None."""
    look = "SELECT name, cursor FROM cursors WHERE name IN (:source, :position)"
    found = dict(target.execute(look, {"source": _SOURCE, "position": _POSITION}).fetchall())
    return (found[_SOURCE], found.get(_POSITION, "")) if _SOURCE in found else None


def note(target: Connection, *, source: str | None = None, position: str = "") -> None:
    """Note a copy that begins, with the mark of its source, or how far it has come."""
    name, cursor = (_POSITION, position) if source is None else (_SOURCE, source)
    target.execute(
        "INSERT INTO cursors (name, cursor) VALUES (:name, :cursor)"
        " ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor",
        {"name": name, "cursor": cursor},
    )


def forget(target: Connection) -> None:
    """Forget the copy, which is finished."""
    values = {"source": _SOURCE, "position": _POSITION}
    target.execute("DELETE FROM cursors WHERE name IN (:source, :position)", values)


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
                hint="has the source changed meanwhile? Empty the target, and copy again",
            )
        counts[table] = ours[0]
    return counts


def is_empty(db: Connection) -> bool:
    """Whether a store has no rows at all."""
    rows = (db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in TABLES)
    return all(row is None for row in rows)


def _rows(
    db: Connection,
    table: str,
    key: Sequence[str],
    names: Sequence[str],
    *,
    after: Sequence[Any] | None = None,
) -> Iterator[Any]:
    """Yield the rows of a table in the order of its key, all or those after one."""
    values = {f"after_{number}": value for number, value in enumerate(after or ())}
    listed = ", ".join(f":{name}" for name in values)
    later = f"WHERE ({_listed(key)}) > ({listed})" if values else ""
    query = f"SELECT {_listed(names)} FROM {table} {later} ORDER BY {_listed(key)}"
    return iter(db.iterate(query, values))


def _some(rows: Iterator[Any]) -> Iterator[Any]:
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
    return _plain(value)


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
