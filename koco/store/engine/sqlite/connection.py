"""Connections to SQLite, and its dialect."""

import sqlite3
from pathlib import Path
from typing import Any, cast

from koco.store.engine import protocol
from koco.store.engine.sqlite.search import TextIndex

_NONE: protocol.Values = {}


class Dialect:
    """SQLite's dialect; see `protocol.Dialect`."""

    def __init__(self) -> None:
        self.search: protocol.TextIndex = TextIndex()

    def by_index(self, table: str, index: str) -> str:
        """Return a table that is read by an index."""
        return f"{table} INDEXED BY {index}"

    def by_key(self, table: str) -> str:
        """Return a table that is read by its primary key."""
        return f"{table} NOT INDEXED"

    def matches(self, column: str, name: str) -> str:
        """Return the condition that a column fits a pattern."""
        # Of GLOB's syntax, the patterns only have `*`: see `koco.control.access.scopes`.
        return f"{column} GLOB :{name}"

    def before(self, column: str, mark: str) -> str:
        """Return the part of a column's text before a mark."""
        return f"substr({column}, 1, instr({column}, '{mark}') - 1)"

    def numbers(self, name: str) -> str:
        """Return a table of the numbers of a JSON list."""
        return f"json_each(:{name})"

    def in_order(self, column: str) -> str:
        """Return nothing: a join keeps the order of its first table. To sort reads all rows."""
        return ""

    def note_copied(self, db: protocol.Connection) -> None:
        """Do nothing: the next number follows the highest."""

    def read_part(
        self, db: protocol.Connection, chunk: int, *, offset: int, size_bytes: int
    ) -> bytes:
        """Return a part of the body of a chunk."""
        connection = cast(Connection, db)
        with connection.blobopen("chunks", "body", chunk, readonly=True) as blob:
            blob.seek(offset)
            return blob.read(size_bytes)


class Connection(sqlite3.Connection):
    """A connection, in which each statement is a transaction of its own unless one is begun."""

    dialect: protocol.Dialect = Dialect()
    leads = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.news: list[Any] = []
        self.touched: set[str] = set()

    def names_of(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        found = self.execute("SELECT name FROM pragma_table_info(:table)", {"table": table})
        return [name for (name,) in found]

    def iterate(self, sql: str, values: protocol.Values = _NONE, /) -> protocol.Rows:
        """Execute a query. Rows of SQLite are read one by one anyway."""
        return self.execute(sql, values)


def connect(path: Path) -> Connection:
    """Return a connection to the file at `path`, which is made if it is missing."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)
    path.chmod(0o600)
    # Of a file without tables: so that `SqliteEngine.give_back` can make it shorter.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = 1")
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def connect_to_read(path: Path) -> Connection:
    """Return a connection that reads only."""
    db = connect(path)
    db.execute("PRAGMA query_only = 1")
    return db


def connect_to_look(path: Path) -> Connection:
    """Return a connection that changes no file, not even when it is closed."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, factory=Connection)
