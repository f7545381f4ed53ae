"""A proxy between koco and its server: refused if it shares sessions, used if it does not."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from koco.store.engine.postgres import pooling
from koco.store.errors import StoreError
from koco.store.store import Store
from tests.support import pooler, postgres
from tests.support.members import sharing, until
from tests.support.stores import launch


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[postgres.Server, str]]:
    url = postgres.databases().url(tmp_path)
    yield postgres.databases().server, url.rpartition("/")[2]


@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("member", [None, "one"])
def test_a_pooler_that_shares_sessions_is_refused(
    database: tuple[postgres.Server, str], mode: str, round_robin: bool, member: str | None
) -> None:
    """The error says what to do, and no session of the pool has a setting of koco's."""
    server, name = database
    with pooler.pooling(server, mode, round_robin=round_robin) as pool:
        with psycopg.connect(pool.url(name), autocommit=True) as db:
            db.execute("SELECT 1", prepare=False)  # the pool has a session then
            with pytest.raises(StoreError, match="sessions of the server to others") as caught:
                asyncio.run(Store.at(pool.url(name), member or "").open())
            [(path,)] = db.execute("SHOW search_path", prepare=False).fetchall()
        assert "koco" not in path
    assert caught.value.hint is not None
    assert "--store" in caught.value.hint and "pool_mode = session" in caught.value.hint


def test_a_busy_pool_is_noticed(database: tuple[postgres.Server, str]) -> None:
    """Other clients take the sessions meanwhile."""
    server, name = database

    async def others(url: str) -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
            while True:
                await db.execute("SELECT pg_sleep(0.001)", prepare=False)

    async def main(url: str) -> None:
        busy = [asyncio.create_task(others(url)) for _ in range(8)]
        await asyncio.sleep(0.3)
        try:
            for _ in range(10):
                with pytest.raises(StoreError, match="sessions of the server to others"):
                    await Store.at(url).open()
        finally:
            for each in busy:
                each.cancel()
            await asyncio.wait(busy)

    with pooler.pooling(server, "transaction") as pool:
        asyncio.run(main(pool.url(name)))


def test_a_pooler_that_keeps_sessions_is_used(database: tuple[postgres.Server, str]) -> None:
    """Several processes share the store, and hear of each other."""
    server, name = database

    async def main(url: str) -> None:
        async with sharing(url, "one", "two") as (one, two):
            await one.lead()
            execution = await launch(one.store)
            await until(lambda: execution.fid in two.touched)
            assert (await two.store.executions.get(execution.fid)).fid == execution.fid

    with pooler.pooling(server, "session") as pool:
        asyncio.run(main(pool.url(name)))


def test_a_leader_behind_a_pooler_ends_its_own_lost_session(
    database: tuple[postgres.Server, str],
) -> None:
    """The server's process is known by the number that the server has for it."""
    server, name = database

    async def main(url: str) -> None:
        async with sharing(url, "one") as (one,):
            await one.lead()
            with psycopg.connect(server.url(name)) as db:
                query = (
                    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
                    " AND granted AND database ="
                    " (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                [(pid,)] = db.execute(query, (0x6B6F636F,)).fetchall()
            assert one.store.engine._writer._right._backend == pid  # type: ignore[attr-defined]

    with pooler.pooling(server, "session") as pool:
        asyncio.run(main(pool.url(name)))


def test_a_pool_without_a_session_left_is_told(
    database: tuple[postgres.Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for minutes, as the pooler would have it."""
    server, name = database
    monkeypatch.setattr(pooling, "_PATIENCE_S", 0.5)
    with pooler.pooling(server, "session", size=1) as pool:
        began = time.monotonic()
        with pytest.raises(StoreError, match="no session of the server left") as caught:
            asyncio.run(Store.at(pool.url(name)).open())
        assert time.monotonic() - began < 5
    assert caught.value.hint is not None and "default_pool_size" in caught.value.hint


def test_a_change_of_the_mode_is_noticed(database: tuple[postgres.Server, str]) -> None:
    """`koco doctor` makes a connection, so it finds what the next ones will meet."""
    server, name = database

    async def main(pool: pooler.Pooler) -> None:
        store = Store.at(pool.url(name))
        await store.open()
        try:
            await store.engine.check()
            pool.pool("transaction")
            with pytest.raises(StoreError, match="sessions of the server to others"):
                await store.engine.check()
        finally:
            await store.close()

    with pooler.pooling(server, "session") as pool:
        asyncio.run(main(pool))
