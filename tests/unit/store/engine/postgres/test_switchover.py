"""A switch to another server, while sessions of the former one live on without taking changes."""

import asyncio
import shutil
from collections.abc import Iterator

import psycopg
import pytest

from koco.store.store import Store
from tests.support import postgres
from tests.support.members import sharing, until
from tests.support.stores import launch


class Pair:
    """A server, and one that is a copy of it once `switch` has been called."""

    def __init__(self) -> None:
        self.former = postgres.Server({**postgres.SETTINGS, "wal_level": "replica"})
        self.former.execute("CREATE DATABASE koco")
        self.new = postgres.Server()
        self.new.stop()
        self.url = f"postgresql://koco@127.0.0.1:{self.former.port},127.0.0.1:{self.new.port}/koco"

    def switch(self) -> None:
        """Copy the server, and let only the copy take changes."""
        self.copy = self.former.base_backup()
        self.new.data = self.copy / "data"
        self.new.start()
        self.former.execute("ALTER SYSTEM SET default_transaction_read_only TO on")
        self.former.execute("SELECT pg_reload_conf()")

    def has(self, fid: str) -> bool:
        """Whether the new server has an execution."""
        with psycopg.connect(self.new.url("koco")) as db:
            query = "SELECT 1 FROM koco.executions WHERE fid = %s"
            return db.execute(query, (fid,)).fetchone() is not None

    def remove(self) -> None:
        self.new.remove()
        shutil.rmtree(self.copy)
        self.former.remove()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.remove()


def test_writes_to_the_server_that_takes_changes_now_and_reads_from_it(pair: Pair) -> None:
    """Although nobody has ended the sessions of the former one."""

    async def main() -> None:
        store = Store.at(pair.url)
        await store.open()
        await launch(store)
        await store.executions.page()
        await asyncio.to_thread(pair.switch)
        fid = await launched_there(store, pair)
        assert await sees(store, fid)
        await store.close()

    asyncio.run(main())


def test_all_processes_follow_to_the_server_that_takes_changes_now(pair: Pair) -> None:
    """Also one that only waits for the lead. Whoever leads then, one does."""

    async def main() -> None:
        async with sharing(pair.url, "a", "b", "c") as (a, b, c):
            epoch = await a.lead()
            waiting = asyncio.create_task(b.lead())
            await launch(c.store)
            await b.store.executions.page()
            await asyncio.to_thread(pair.switch)
            fid = await launched_there(c.store, pair)
            async with asyncio.timeout(20):
                while not await sees(b.store, fid):
                    await asyncio.sleep(0.05)
            await until(lambda: b.gaps)
            made = await launch(c.store)
            await until(lambda: made.fid in b.touched)
            await until(lambda: waiting.done() == bool(a.falls))
            found = await c.store.engine.leader()
            assert found is not None
            assert (found.epoch == epoch) == (found.member == "a") == (not a.falls)
            waiting.cancel()

    asyncio.run(main())


async def launched_there(store: Store, pair: Pair) -> str:
    """Launch until the new server has it: a session of the former one may learn it late."""
    async with asyncio.timeout(20):
        while True:
            made = await launch(store)
            if await asyncio.to_thread(pair.has, made.fid):
                return made.fid


async def sees(store: Store, fid: str) -> bool:
    return fid in {each.fid for each in (await store.executions.page()).items}
