"""Full text search with SQLite's FTS5, which not every Python has."""

import sqlite3
from collections.abc import Iterable, Sequence

from koco.store.engine.protocol import Connection, Word
from koco.store.errors import NoSearchError


class TextIndex:
    """The index of texts by execution; see `protocol.TextIndex`."""

    table = "search"
    column = "rowid"
    condition = "search MATCH :match"

    def require(self, db: Connection) -> None:
        """Check that there is an index."""
        if not self.exists(db):
            raise NoSearchError(
                f"the control plane's SQLite ({sqlite3.sqlite_version}) has no full text search,"
                " FTS5",
                hint="all other filters work; a Python whose SQLite has FTS5 brings it",
            )

    def exists(self, db: Connection) -> bool:
        """Whether there is an index."""
        return _exists(db)

    def match(self, words: Sequence[Word]) -> str:
        """Return FTS5's match expression. All words are quoted, so none is read as syntax."""
        return " AND ".join(f'"{word.text}"{"*" * word.is_prefix}' for word in words)

    def find(
        self, db: Connection, match: str, low: int, high: int, most: int
    ) -> tuple[list[int], int]:
        """Return the highest ids of matching texts, and how far it came."""
        rows = db.execute(
            "SELECT rowid FROM search WHERE search MATCH :match AND rowid >= :low AND rowid < :high"
            " ORDER BY rowid DESC LIMIT :most",
            {"match": match, "low": low, "high": high, "most": most},
        )
        ids = [number for (number,) in rows]
        return ids, ids[-1] if len(ids) == most else low

    def put(self, db: Connection, texts: Iterable[tuple[int, str]]) -> None:
        """Index texts by execution."""
        db.executemany(
            "INSERT OR REPLACE INTO search (rowid, text)"
            " SELECT :id, :text WHERE EXISTS (SELECT 1 FROM executions WHERE id = :id)",
            [{"id": execution, "text": text} for execution, text in texts],
        )

    def remove(self, db: Connection, execution: int) -> None:
        """Remove an execution's text."""
        if self.exists(db):
            db.execute("DELETE FROM search WHERE rowid = :id", {"id": execution})


def prepare(db: sqlite3.Connection) -> None:
    """Create the index if it is missing. Without FTS5 there is none."""
    if _exists(db):
        return
    try:
        # The index keeps a copy of the texts, because without one it cannot delete an execution.
        db.execute(
            "CREATE VIRTUAL TABLE search USING fts5"
            " (text, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')"
        )
    except sqlite3.OperationalError as exc:
        if "fts5" not in str(exc):
            raise
        return
    last = "(SELECT coalesce(max(seq), 0) FROM changes)"
    db.execute(f"UPDATE indexed SET upto = {last}, above = {last}")


def _exists(db: Connection | sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone())
