"""Connections to PostgreSQL, and its dialect."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int4, Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper

from koco.store.engine import protocol
from koco.store.engine.postgres import pooling
from koco.store.engine.postgres.search import TextIndex

#: What is set for connections unless the URL says otherwise: one that is dead is noticed in half a
#: minute.
_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "koco",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    # Of several hosts, the one that takes changes.
    "target_session_attrs": "read-write",
}
#: The settings of a session. An acknowledged change survives a power cut, and a statement may take
#: as long as it does. A session may be idle, because it has locks. The server notices dead clients,
#: whose locks it holds.
_SESSION = """
    SET search_path TO koco;
    SET synchronous_commit TO on;
    SET standard_conforming_strings TO on;
    SET jit TO off;
    SET statement_timeout TO 0;
    SET lock_timeout TO 0;
    SET idle_in_transaction_session_timeout TO 0;
    SET idle_session_timeout TO 0;
    SET default_transaction_isolation TO 'read committed';
    SET tcp_keepalives_idle TO 10;
    SET tcp_keepalives_interval TO 5;
    SET tcp_keepalives_count TO 3
"""
#: What only newer servers have: since which version, and the setting.
_NEWER = {170_000: "transaction_timeout"}
#: The columns that the database numbers.
IDENTITIES = {
    **{"audit": "seq", "changes": "seq"},
    **{"chunks": "id", "steps": "id", "messages": "id", "deliveries": "id"},
}
#: How many statements a connection keeps prepared.
_PREPARED = 500
#: How many rows `iterate` fetches at first, and at most: each time, four times as many.
_FIRST_ROWS, _MOST_ROWS = 8, 512

#: A literal, or the name of a value. Two colons are a cast.
_NAME = re.compile(r"'[^']*'|(?<!:):([a-z_][a-z0-9_]*)")
_NONE: Mapping[str, Any] = MappingProxyType({})


class Dialect:
    """PostgreSQL's dialect; see `protocol.Dialect`."""

    def __init__(self) -> None:
        self.search: protocol.TextIndex = TextIndex()

    def by_index(self, table: str, index: str) -> str:
        """Return a table. The planner knows which index to read it by."""
        return table

    def by_key(self, table: str) -> str:
        """Return a table."""
        return table

    def matches(self, column: str, name: str) -> str:
        """Return the condition that a column fits a pattern."""
        pattern = f":{name}"
        for special, literal in (("\\", "\\\\"), ("%", "\\%"), ("_", "\\_"), ("*", "%")):
            pattern = f"replace({pattern}, '{special}', '{literal}')"
        return f"{column} LIKE {pattern}"

    def before(self, column: str, mark: str) -> str:
        """Return the part of a column's text before a mark."""
        return f"split_part({column}, '{mark}', 1)"

    def numbers(self, name: str) -> str:
        """Return a table of the numbers of a JSON list."""
        listed = f"json_array_elements_text(CAST(:{name} AS json)) AS listed"
        return f"(SELECT CAST(listed AS bigint) AS value FROM {listed})"

    def in_order(self, column: str) -> str:
        """Return an order. Large values are not read for it."""
        return f"ORDER BY {column} DESC"

    def note_copied(self, db: protocol.Connection) -> None:
        """Let the next numbers follow the highest ones."""
        for table, name in IDENTITIES.items():
            db.execute(
                f"SELECT setval(pg_get_serial_sequence('koco.{table}', '{name}'),"
                f" (SELECT coalesce(max({name}), 0) + 1 FROM {table}), false)"
            )

    def read_part(
        self, db: protocol.Connection, chunk: int, *, offset: int, size_bytes: int
    ) -> bytes:
        """Return a part of the body of a chunk."""
        # The column is stored without compression, so the rest is not read.
        query = "SELECT substr(body, :start, :size) FROM chunks WHERE id = :id"
        values = {
            "start": Int4(offset + 1),
            "size": Int4(size_bytes),
            "id": chunk,
        }
        part: bytes = db.execute(query, values).fetchone()[0]
        return part


class Connection:
    """A connection, in which each statement is a transaction of its own unless one is begun."""

    dialect: protocol.Dialect = Dialect()

    def __init__(self, raw: "psycopg.Connection[Any]", *, backend: int) -> None:
        self.raw = raw
        #: The server's process.
        self.backend = backend
        self.news: list[Any] = []
        self.touched: set[str] = set()
        self.leads = True
        self._cursors = 0

    def execute(self, sql: str, values: protocol.Values = _NONE, /) -> protocol.Rows:
        """Execute a statement."""
        rows = self.raw.execute(cast(Any, _translated(sql)), values, binary=True)
        return cast(protocol.Rows, rows)

    def executemany(self, sql: str, values: Iterable[protocol.Values], /) -> protocol.Rows:
        """Execute a statement once for each of the values."""
        cursor = self.raw.cursor()
        cursor.executemany(cast(Any, _translated(sql)), list(values))
        return cast(protocol.Rows, cursor)

    def names_of(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        rows = self.raw.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(%s AS regclass)"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (table,),
        )
        return [name for (name,) in rows.fetchall()]

    def iterate(self, sql: str, values: protocol.Values = _NONE, /) -> protocol.Rows:
        """Execute a query whose rows are fetched in pieces.

        If no transaction is begun, it begins one: see `end`.
        """
        with self.raw.pipeline():
            if self.raw.info.transaction_status is TransactionStatus.IDLE:
                self.begin("BEGIN READ ONLY")
            self._cursors += 1
            name = f"each_{self._cursors}"
            declared = f"DECLARE {name} NO SCROLL CURSOR FOR {_translated(sql)}"
            self.raw.execute(cast(Any, declared), values, prepare=False)
            first = self._fetch(name, _FIRST_ROWS)
        return _Pieces(self, name, first.fetchall())

    def begin(self, statement: str) -> "psycopg.Cursor[Any]":
        """Begin a transaction; return the results of the statement."""
        self._cursors = 0
        return self.raw.execute(cast(Any, statement))

    def end(self) -> None:
        """End the transaction that is begun, if there is one."""
        if self.raw.info.transaction_status is not TransactionStatus.IDLE:
            # A rollback would make psycopg prepare all statements again.
            self.raw.execute("COMMIT")

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be done with it any more."""
        return self.raw.closed

    def close(self) -> None:
        """Close it. A transaction that has not been committed is lost."""
        self.raw.close()

    def _fetch(self, name: str, rows: int) -> "psycopg.Cursor[Any]":
        return self.raw.execute(cast(Any, f"FETCH {rows} FROM {name}"), binary=True, prepare=False)


class _Pieces:
    """The rows of a query, fetched in pieces. Its cursor ends with the transaction."""

    rowcount = -1

    def __init__(self, db: Connection, name: str, first: list[Any]) -> None:
        self._rows = self._each(db, name, first)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def close(self) -> None:
        self._rows = iter(())

    @staticmethod
    def _each(db: Connection, name: str, found: list[Any]) -> Iterator[Any]:
        wanted = _FIRST_ROWS
        while True:
            yield from found
            if len(found) < wanted:
                return
            wanted = min(4 * wanted, _MOST_ROWS)
            found = db._fetch(name, wanted).fetchall()


def connect(url: str) -> Connection:
    """Return a connection to a database. Blocks.

    Raises:
        psycopg.Error: there is none. See `koco.store.engine.postgres.failures`.
    """
    asked = conninfo_to_dict(url)
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in asked}
    conninfo = make_conninfo(url, **defaults, client_encoding="utf8")
    raw = psycopg.connect(conninfo, autocommit=True, context=_ADAPTERS)
    try:
        # First of all, so that no setting reaches a session of somebody else.
        backend = pooling.backend_of(raw, lambda: psycopg.connect(conninfo, autocommit=True))
        raw.prepared_max = _PREPARED
        newer = (name for since, name in _NEWER.items() if raw.info.server_version >= since)
        raw.execute(cast(Any, ";".join([_SESSION, *(f"SET {name} TO 0" for name in newer)])))
    except BaseException:
        raw.close()
        raise
    return Connection(raw, backend=backend)


class _Context:
    """How values are sent and received: an `AdaptContext`."""

    connection = None

    def __init__(self) -> None:
        self.adapters = adapters = AdaptersMap(psycopg.adapters)
        # Types that do not depend on a value's size, so that a statement is prepared once. As in
        # SQLite, a boolean is a number.
        adapters.register_dumper(int, Int8BinaryDumper)
        adapters.register_dumper(bool, Int8BinaryDumper)
        adapters.register_dumper(str, _Text)
        adapters.register_loader("numeric", _Sum)


class _Text(StrBinaryDumper):
    """Text. PostgreSQL's has no NUL."""

    def dump(self, obj: str) -> bytes:
        return obj.replace("\0", "\ufffd").encode()


class _Sum(NumericBinaryLoader):
    """The sum of integers, which PostgreSQL returns as `numeric`."""

    def load(self, data: Any) -> Any:
        return int(super().load(data))


@lru_cache(maxsize=4000)
def _translated(sql: str) -> str:
    """Return a statement with psycopg's placeholders."""
    escaped = sql.replace("%", "%%")
    return _NAME.sub(lambda found: f"%({found[1]})s" if found[1] else found[0], escaped)


_ADAPTERS = _Context()
