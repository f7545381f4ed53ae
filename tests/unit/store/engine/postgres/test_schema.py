"""The tables are those of SQLite, whatever the version."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from koco.store import transfer, version
from koco.store.engine.postgres import schema, tables
from koco.store.engine.postgres.connection import connect
from koco.store.engine.postgres.search import vector
from koco.store.engine.sqlite.schema import migrate
from koco.store.errors import StoreError
from koco.store.store import Store, put_aside
from tests.support import postgres

#: What only one engine has: the full text index, the version.
_APART = ("search", "store")
_TYPES = {"bigint": "INTEGER", "text": "TEXT", "double precision": "REAL", "bytea": "BLOB"}

Columns = dict[str, set[tuple[str, str, bool]]]


def of_sqlite() -> tuple[Columns, dict[str, str]]:
    """Return columns as `(name, type, is required)` by table, and indexes by name."""
    db = sqlite3.connect(":memory:")
    migrate(db)
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    tables: Columns = {
        name: {
            (column, kind, bool(required or key))
            for _, column, kind, required, _, key in db.execute(f"PRAGMA table_info({name})")
        }
        for (name,) in rows
        if not name.startswith(_APART)
    }
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''")
    return tables, {name: sql.partition(" ON ")[2] for name, sql in found}


def of_postgres(url: str) -> tuple[Columns, dict[str, str]]:
    with psycopg.connect(url) as db:
        rows = db.execute(
            "SELECT table_name, column_name, data_type, is_nullable = 'NO', collation_name"
            " FROM information_schema.columns WHERE table_schema = 'koco'"
        ).fetchall()
        indexes = db.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'koco'")
        names = {name for (name,) in indexes}
    found_tables: Columns = {}
    for table, column, kind, required, collation in rows:
        if table not in _APART:
            found_tables.setdefault(table, set()).add((column, _TYPES[kind], required))
            assert kind != "text" or collation == "C", f"{table}.{column}"
    made = re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)\s+ON (.+?);", every_script(), re.DOTALL)
    found = {name: on for name, on in made if name != "search_by_words"}
    assert set(found) <= names
    return found_tables, found


def every_script() -> str:
    return tables.TABLES + "".join(schema.MIGRATIONS.values())


def test_has_the_tables_and_indexes_of_sqlite(tmp_path: Path) -> None:
    """With the same columns, so that a store can be copied from one to the other."""
    of_file, indexes_of_file = of_sqlite()
    of_server, indexes_of_server = of_postgres(postgres.databases().url(tmp_path))
    assert of_server == of_file

    def plain(found: dict[str, str]) -> dict[str, str]:
        return {name: " ".join(on.split()) for name, on in found.items()}

    assert plain(indexes_of_server) == plain(indexes_of_file)


def test_there_is_a_step_for_each_version() -> None:
    """Like with SQLite. This engine began with one of them."""
    assert sorted(schema.MIGRATIONS) == list(range(schema._FIRST, version.LATEST))


def test_texts_of_the_first_version_are_found_by_their_range(tmp_path: Path) -> None:
    """As those that are indexed now."""
    url = postgres.databases().url(tmp_path)
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("DROP SCHEMA koco CASCADE; CREATE SCHEMA koco")
    with closing(connect(url)) as db:
        schema._execute(db, f"{tables.STORE} {tables.TABLES}")
        db.raw.execute("UPDATE store SET version = 9")
        db.raw.execute("INSERT INTO search VALUES (40000, CAST($$'one':1 'two':2$$ AS tsvector))")
        schema.migrate(db)
        found = db.raw.execute(
            "SELECT words = CAST(%s AS tsvector) FROM search", (vector("one two", 40000),)
        )
        assert found.fetchone() == (True,)
        assert schema.version_of(db) == version.LATEST


@pytest.mark.parametrize(
    ("grant", "said", "hint"),
    [
        ("SELECT 1", "permission denied for schema koco", "of another user"),
        (
            "GRANT ALL ON SCHEMA koco TO stranger;"
            " GRANT ALL ON ALL TABLES IN SCHEMA koco TO stranger",
            "must be owner of schema koco",
            "ALTER SCHEMA koco RENAME TO koco_before_restore",
        ),
        (
            "ALTER SCHEMA koco OWNER TO stranger;"
            " GRANT ALL ON ALL TABLES IN SCHEMA koco TO stranger",
            "permission denied for database",
            "CREATE on the database",
        ),
    ],
)
def test_a_store_of_another_user_is_not_put_aside(
    tmp_path: Path, grant: str, said: str, hint: str
) -> None:
    """A restore says who could do it, and changes nothing."""
    server, url = postgres.databases().server, postgres.databases().url(tmp_path)
    name = url.rpartition("/")[2]
    server.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    try:
        server.execute(f"INSERT INTO koco.cursors VALUES ('a', 'b'); {grant}", name)
        url = server.url(name, user="stranger")
        with pytest.raises(StoreError) as caught:
            assert asyncio.run(transfer.has_rows(Store.at(url).engine))
            put_aside(url, "koco_before_restore")
        assert said in caught.value.message and hint in (caught.value.hint or "")
        assert url in caught.value.message
    finally:
        server.execute("REASSIGN OWNED BY stranger TO koco; DROP OWNED BY stranger", name)
        server.execute("DROP ROLE stranger")
