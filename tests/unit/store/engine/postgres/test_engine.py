"""A database on a PostgreSQL server: its lock, its versions, what is said of those that fail."""

import asyncio
import socket
from pathlib import Path

import psycopg
import pytest

from koco.errors import ConflictError, NoRoomError, UsageError
from koco.store import address
from koco.store.engine.postgres import engine, failures, writer
from koco.store.engine.protocol import Connection
from koco.store.errors import DamagedError, StoreError
from koco.store.store import Store
from tests.support import postgres
from tests.support.stores import begun, launch, opened


def refusal(url: str) -> StoreError:
    """Return the error of a store that cannot be opened."""
    with pytest.raises(StoreError) as caught:
        asyncio.run(Store.at(url).open())
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_says_that_nothing_answers(tmp_path: Path) -> None:
    """With the place, and what to look at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://koco@127.0.0.1:{unused.getsockname()[1]}/koco"
        error = refusal(url)
    assert url in error.message
    assert "Connection refused" in error.message
    assert "check that the server runs" in (error.hint or "")


def test_says_that_a_password_is_wrong_or_missing(tmp_path: Path) -> None:
    """And where it belongs. A right one in a file of passwords is used."""
    url = postgres.databases().url(tmp_path).replace("koco@", f"{postgres.CAREFUL}@")
    server = postgres.databases().server
    server.execute(f"CREATE ROLE {postgres.CAREFUL} SUPERUSER LOGIN PASSWORD 'right'")
    try:
        file = tmp_path / "passwords"
        whole = f"{url}?passfile={file}"
        file.write_text("")
        file.chmod(0o600)
        error = refusal(whole)
        assert "no password supplied" in error.message
        assert "~/.pgpass" in (error.hint or "")
        file.write_text(f"*:*:*:{postgres.CAREFUL}:wrong\n")
        error = refusal(whole)
        assert "password authentication failed" in error.message
        assert "wrong" not in f"{error.message}{error.hint}"
        file.write_text(f"*:*:*:{postgres.CAREFUL}:right\n")
        file.chmod(0o640)  # libpq ignores it then
        error = refusal(whole)
        assert "no password supplied" in error.message
        assert "nobody else may read it" in (error.hint or "")
        file.chmod(0o600)

        async def main() -> None:
            store = Store.at(whole)
            await store.open()
            assert store.engine.location == url
            await launch(store)
            await store.close()

        asyncio.run(main())
    finally:
        server.execute(f"DROP OWNED BY {postgres.CAREFUL}")
        server.execute(f"DROP ROLE {postgres.CAREFUL}")


def test_says_that_a_database_is_missing(tmp_path: Path) -> None:
    """And how to make one."""
    error = refusal(postgres.databases().server.url("nowhere"))
    assert 'database "nowhere" does not exist' in error.message
    assert "createdb" in (error.hint or "")


def test_refuses_a_server_that_takes_no_changes(tmp_path: Path) -> None:
    """Such as one that follows another."""
    url = postgres.databases().url(tmp_path)
    name = url.rpartition("/")[2]
    postgres.databases().server.execute(
        f"ALTER DATABASE {name} SET default_transaction_read_only TO on"
    )
    error = refusal(url)
    assert "read-only" in error.message
    assert "the server that takes changes" in (error.hint or "")


def test_says_that_a_server_has_become_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes fail after a while, and reads go on."""
    monkeypatch.setattr(writer, "_PATIENCE_S", 0.3)

    async def main() -> None:
        async with opened("postgresql", tmp_path) as store:
            execution = await launch(store)

            def change(db: Connection) -> None:
                db.execute("SET TRANSACTION READ ONLY")
                db.execute("UPDATE tallies SET count = 0")

            with pytest.raises(StoreError, match="read-only") as caught:
                await store.engine.write(change)
            assert "takes changes" in (caught.value.hint or "")
            assert (await store.executions.get(execution.fid)).status == "queued"
            await launch(store)

    asyncio.run(main())


def test_refuses_an_old_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its version and the one that is needed."""
    monkeypatch.setattr(engine, "_OLDEST", 990_000)
    error = refusal(postgres.databases().url(tmp_path))
    assert "is PostgreSQL 1" in error.message
    assert error.hint == "koco needs 99 or newer"


def test_refuses_a_database_that_cannot_hold_every_text(tmp_path: Path) -> None:
    """And says how to make one that can."""
    server = postgres.databases().server
    server.execute(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
    )
    try:
        error = refusal(server.url("latin"))
        assert "LATIN1" in error.message
        assert "--encoding UTF8" in (error.hint or "")
    finally:
        server.execute("DROP DATABASE latin")


def test_says_that_the_user_may_not_make_tables(tmp_path: Path) -> None:
    """The user must own the database."""
    server = postgres.databases().server
    server.execute("CREATE ROLE stranger LOGIN")
    server.execute("CREATE DATABASE foreign_one")
    try:
        error = refusal(server.url("foreign_one", user="stranger"))
        assert "permission denied" in error.message
        assert "own the database" in (error.hint or "")
    finally:
        server.execute("DROP DATABASE foreign_one")
        server.execute("DROP ROLE stranger")


def test_a_schema_that_the_user_was_given_is_enough(tmp_path: Path) -> None:
    """It may not make another one: many servers grant no more."""
    server = postgres.databases().server
    server.execute("CREATE ROLE guest LOGIN")
    server.execute("CREATE DATABASE hosted")
    server.execute("CREATE SCHEMA koco AUTHORIZATION guest", "hosted")

    async def main() -> None:
        store = Store.at(server.url("hosted", user="guest"))
        await store.open()
        await launch(store)
        await store.close()

    try:
        asyncio.run(main())
    finally:
        server.execute("DROP DATABASE hosted WITH (FORCE)")
        server.execute("DROP ROLE guest")


def test_says_that_there_are_too_many_connections(tmp_path: Path) -> None:
    """Of the server, or of the user."""
    server = postgres.Server({**postgres.SETTINGS, "max_connections": "5"})
    held = []
    try:
        with pytest.raises(psycopg.OperationalError):
            for _ in range(6):
                held.append(psycopg.connect(server.url("postgres")))
        error = refusal(server.url("postgres"))
        assert "too many clients" in error.message
        assert "twelve connections" in (error.hint or "")
    finally:
        for each in held:
            each.close()
        server.remove()
    server = postgres.databases().server
    server.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    try:
        error = refusal(server.url("postgres", user="few"))
        assert "twelve connections" in (error.hint or "")
        server.execute("ALTER ROLE few NOLOGIN")
        error = refusal(server.url("postgres", user="few"))
        assert "ALTER ROLE" in (error.hint or "")
    finally:
        server.execute("DROP ROLE few")


def test_settings_of_the_user_do_not_count(tmp_path: Path) -> None:
    """Texts, times and numbers are the same, and nothing is cancelled."""
    server = postgres.databases().server
    server.execute("CREATE ROLE odd SUPERUSER LOGIN")
    server.execute("CREATE DATABASE odd")
    settings = {
        **{"standard_conforming_strings": "off", "bytea_output": "'escape'"},
        **{"datestyle": "'German, DMY'", "timezone": "'Asia/Kolkata'", "intervalstyle": "iso_8601"},
        **{"client_encoding": "'LATIN1'", "search_path": "nowhere", "extra_float_digits": "-5"},
        **{"statement_timeout": "'1ms'", "lock_timeout": "'1ms'"},
        **{"default_transaction_isolation": "serializable", "synchronous_commit": "off"},
    }
    for name, value in settings.items():
        server.execute(f"ALTER ROLE odd SET {name} TO {value}")
    text = "\\'ä€\\\\u0041"

    async def main() -> None:
        store = Store.at(server.url("odd", user="odd"))
        await store.open()
        execution = await launch(store, text=text)
        found = await store.executions.get(execution.fid)
        assert found.inputs == {"text": text}
        assert found.created == execution.created
        await store.close()

    try:
        asyncio.run(main())
    finally:
        server.execute("DROP DATABASE odd WITH (FORCE)")
        server.execute("DROP ROLE odd")


def test_refuses_tables_of_somebody_else(tmp_path: Path) -> None:
    """They stay as they are."""
    server = postgres.databases().server
    server.execute("CREATE DATABASE taken")
    try:
        server.execute("CREATE SCHEMA koco; CREATE TABLE koco.store (goods text)", "taken")
        with pytest.raises(ConflictError, match="that is not koco's") as caught:
            asyncio.run(Store.at(server.url("taken")).open())
        assert "a database of its own" in (caught.value.hint or "")
    finally:
        server.execute("DROP DATABASE taken WITH (FORCE)")


def test_keeps_its_locks_where_idle_sessions_are_ended(tmp_path: Path) -> None:
    """Else another control plane could open the store while this one has nothing to do."""
    url = postgres.databases().url(tmp_path)
    name = url.rpartition("/")[2]
    postgres.databases().server.execute(
        f"ALTER DATABASE {name} SET idle_session_timeout TO '200ms'"
    )

    async def main() -> None:
        async with opened("postgresql", tmp_path) as store:
            await launch(store)
            await asyncio.sleep(0.6)
            assert store.engine.is_open()
            await launch(store)

    try:
        asyncio.run(main())
    finally:
        postgres.databases().server.execute(f"ALTER DATABASE {name} RESET idle_session_timeout")


def test_refuses_to_open_a_database_that_is_open_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names another control plane. Whoever comes later gets it."""
    monkeypatch.setattr(engine, "_LOCK_PATIENCE_S", 0.1)
    url = postgres.databases().url(tmp_path)

    async def main() -> None:
        other = Store.at(url)
        assert not other.engine.is_open()
        async with opened("postgresql", tmp_path):
            assert other.engine.is_open()
            with pytest.raises(ConflictError, match="another control plane has postgresql://"):
                await other.open()
        assert not other.engine.is_open()
        await other.open()
        await other.close()

    asyncio.run(main())


def test_refuses_a_database_of_a_newer_koco_and_leaves_it_alone(tmp_path: Path) -> None:
    """An older koco must not touch what it does not understand."""
    url = postgres.databases().url(tmp_path)
    with psycopg.connect(url) as db:
        db.execute("UPDATE koco.store SET version = 9999")

    async def main() -> None:
        for step in (Store.at(url).engine.check(), Store.at(url).open()):
            with pytest.raises(ConflictError, match="9999"):
                await step

    asyncio.run(main())
    assert Store.at(url).engine.version() == 9999
    with psycopg.connect(url) as db:
        assert db.execute("SELECT opened FROM koco.store").fetchone() == (1,)


def test_an_empty_database_has_no_version_and_stays_empty(tmp_path: Path) -> None:
    """Whoever looks makes no tables. Opening it does."""
    server = postgres.databases().server
    server.execute("CREATE DATABASE bare TEMPLATE template0")
    try:
        store = Store.at(server.url("bare"))
        assert store.engine.version() == 0
        asyncio.run(store.engine.check())
        assert store.engine.version() == 0

        async def main() -> None:
            await store.open()
            await begun(store)
            assert await store.engine.probe() == store.engine.version() > 0
            assert await store.engine.size_bytes() > 100_000
            await store.close()

        asyncio.run(main())
    finally:
        server.execute("DROP DATABASE bare WITH (FORCE)")


def test_one_row_that_cannot_be_decoded_is_damage(tmp_path: Path) -> None:
    """The others are still readable."""

    async def main() -> None:
        async with opened("postgresql", tmp_path) as store:
            broken, whole = await launch(store), await launch(store)

            def change(db: Connection) -> None:
                db.execute(
                    "UPDATE executions SET inputs = '{' WHERE fid = :fid", {"fid": broken.fid}
                )

            await store.engine.write(change)
            with pytest.raises(DamagedError, match=r"Executions\.get") as caught:
                await store.executions.get(broken.fid)
            assert "restore a backup" in (caught.value.hint or "")
            assert await store.executions.get(whole.fid) == whole

    asyncio.run(main())


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    """New data is refused like with SQLite."""
    error = failures.translate(
        psycopg.errors.DiskFull("could not extend file"), "postgresql://db/koco", what="it failed"
    )
    assert isinstance(error, NoRoomError)
    assert "the disk of its server" in (error.hint or "")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://ada:secret@db/koco", "password"),
        ("postgresql://db/koco?password=secret", "password"),
        ("postgresql://db/koco?oauth_client_secret=secret", "password"),
        ("postgresql://db/koco?scram_client_key=secret", "password"),
        ("postgresql://db", "names no database"),
        ("postgresql://db:x/koco", "not a URL"),
        ("mysql://db/koco", "not a URL of a PostgreSQL"),
    ],
)
def test_refuses_other_urls(url: str, why: str) -> None:
    """Above all those with a password, which they do not repeat."""
    with pytest.raises(UsageError, match=why) as caught:
        address.check(url)
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


def test_accepts_urls_of_databases() -> None:
    """With users, several hosts and options."""
    for url in ("postgresql://koco@db/koco", "postgres://a@b/c?sslmode=verify-full"):
        assert address.check(url) == url
