"""A switch to another server, while sessions of the former one live on without taking changes."""

import asyncio
import shutil
from collections.abc import Iterator

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
        await launch(store)
        assert len((await store.executions.page()).items) == 2
        await store.close()

    asyncio.run(main())


def test_all_processes_follow_to_the_server_that_takes_changes_now(pair: Pair) -> None:
    """Also those that write nothing. One leads, as before."""

    async def main() -> None:
        async with sharing(pair.url, "a", "b") as (a, b):
            epoch = await a.lead()
            waiting = asyncio.create_task(b.lead())
            await launch(a.store)
            assert len((await b.store.executions.page()).items) == 1
            await asyncio.to_thread(pair.switch)
            await launch(a.store)
            await until(lambda: b.gaps)
            assert len((await b.store.executions.page()).items) == 2
            made = await launch(a.store)
            await until(lambda: made.fid in b.touched)
            found = await b.store.engine.leader()
            assert found is not None
            assert (found.epoch, found.member) == (epoch, "a")
            assert not a.falls
            assert not waiting.done()
            waiting.cancel()

    asyncio.run(main())
