"""A PostgreSQL that goes away, and comes back: nothing is lost, and nothing is done twice."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from koco.errors import ConflictError
from koco.store.engine.group_commit import Committed
from koco.store.engine.postgres import readers, writer
from koco.store.errors import StoreError
from koco.store.model import NewExecution
from koco.store.store import Store
from tests.support import postgres
from tests.support.cut_wire import Wire, wire_to
from tests.support.stores import batch, begun, events, launch


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wire_to(postgres.databases().server.port) as wire:
        yield wire


def through(wire: Wire, place: Path) -> Store:
    """Return a store whose connections go over a wire."""
    url = postgres.databases().url(place)
    return Store.at(url.replace(f":{postgres.databases().server.port}/", f":{wire.port}/"))


@pytest.mark.parametrize("is_late", [False, True])
def test_a_connection_lost_in_a_commit_neither_loses_nor_repeats_it(
    wire: Wire, tmp_path: Path, is_late: bool
) -> None:
    """Whether the server has committed is asked, and not guessed."""

    async def main() -> None:
        store = through(wire, tmp_path)
        await store.open()
        heard: list[str] = []
        store.listen(lambda news: heard.extend(each.fid for each in news))
        execution = await begun(store)
        wire.is_late, wire.cut_at = is_late, b"COMMIT"
        made = await asyncio.gather(
            store.events.append([batch(execution.fid, 1, "kept")]),
            launch(store),
            launch(store),
        )
        assert wire.cuts == 1
        assert made[0][0].last == 1
        stream = await events(store, execution)
        assert [each["payload"] for each in stream].count("kept") == 1
        page = await store.executions.page()
        assert {each.fid for each in made[1:]} < {each.fid for each in page.items}
        assert len(page.items) == 3
        assert await store.executions.count_by_status() == {"queued": 2, "running": 1}
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("text", [b"BEGIN", b"INSERT INTO chunks", b"pg_xact_status"])
def test_a_connection_lost_at_any_moment_is_replaced(
    wire: Wire, tmp_path: Path, text: bytes
) -> None:
    """Also while the outcome of a commit is asked for."""

    async def main() -> None:
        store = through(wire, tmp_path)
        await store.open()
        if text == b"pg_xact_status":
            wire.is_late, wire.cut_at = True, b"COMMIT"
            threading.Thread(target=cut_then, args=(wire, text), daemon=True).start()
        else:
            wire.cut_at = text
        execution = await launch(store)
        assert [each.fid for each in (await store.executions.page()).items] == [execution.fid]
        assert wire.cuts == (2 if text == b"pg_xact_status" else 1)
        await store.close()

    asyncio.run(main())


def test_a_transaction_that_its_server_took_with_it_was_not_committed(tmp_path: Path) -> None:
    """The next server has followed the lost one late, and has not given that number yet."""

    async def main() -> None:
        store = Store.at(postgres.databases().url(tmp_path))
        await store.open()
        lost = psycopg.OperationalError("the server closed the connection")
        for number, is_there in (("99999999999", False), ("1", True)):
            unanswered = writer._UnansweredError(number, Committed([], []), lost)
            there: Any = store.engine
            assert there._writer._was_committed(unanswered) is is_there
        await store.close()

    asyncio.run(main())


def cut_then(wire: Wire, text: bytes) -> None:
    while wire.cuts == 0:
        time.sleep(0.001)
    wire.cut_at = text


def test_a_read_is_repeated_with_another_connection(wire: Wire, tmp_path: Path) -> None:
    """Also one that has begun to fetch its rows."""

    async def main() -> None:
        store = through(wire, tmp_path)
        await store.open()
        execution = await begun(store)
        for number in range(20):
            await store.events.append([batch(execution.fid, number + 1, "x")])
        for text in (b"SELECT", b"FETCH 32"):
            wire.cut_at = text
            assert len(await events(store, execution)) == 25
            assert wire.cut_at is None
        await store.close()

    asyncio.run(main())


def test_waits_for_a_server_that_is_started_again(tmp_path: Path) -> None:
    """Launches that were accepted are there, and those that come meanwhile wait."""
    server = postgres.Server()
    try:
        server.execute("CREATE DATABASE own")

        async def main() -> None:
            store = Store.at(server.url("own"))
            await store.open()
            before = await launch(store)
            for how in (signal.SIGINT, signal.SIGQUIT):
                await asyncio.to_thread(server.stop, how)
                pending = [asyncio.create_task(launch(store)) for _ in range(3)]
                await asyncio.sleep(0.3)
                assert not any(each.done() for each in pending)
                await asyncio.to_thread(server.start)
                made = await asyncio.gather(*pending)
                found = {each.fid for each in (await store.executions.page()).items}
                assert {before.fid, *(each.fid for each in made)} <= found
            assert await store.executions.count_by_status() == {"queued": 7}
            await store.close()

        asyncio.run(main())
    finally:
        server.remove()


def test_gives_up_after_a_while_and_recovers_later(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the database, and what to look at."""
    monkeypatch.setattr(writer, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(readers, "_PATIENCE_S", 0.3)

    async def main() -> None:
        store = through(wire, tmp_path)
        await store.open()
        execution = await launch(store)
        wire.is_down, wire.cut_at = True, b"BEGIN"
        with pytest.raises(StoreError, match="could not be written: postgresql://koco@") as caught:
            await launch(store)
        assert "reaches it" in (caught.value.hint or "")
        wire.cut_at = b"SELECT"
        with pytest.raises(StoreError, match="could not be read"):
            await store.executions.get(execution.fid)
        wire.is_down, wire.is_late, wire.cut_at = False, True, b"COMMIT"
        threading.Thread(target=down_after_cut, args=(wire, wire.cuts), daemon=True).start()
        with pytest.raises(StoreError, match="cannot be asked what became of it") as caught:
            await launch(store)
        assert "before you make it again" in (caught.value.hint or "")
        wire.is_down = False
        await launch(store)
        # The one of which nobody knew had been committed.
        assert await store.executions.count_by_status() == {"queued": 3}
        await store.close()

    asyncio.run(main())


def down_after_cut(wire: Wire, cuts: int) -> None:
    wire_was = cuts
    while wire.cuts == wire_was:
        time.sleep(0.0005)
    wire.is_down = True


def test_writes_nothing_once_another_control_plane_has_opened_it(
    wire: Wire, tmp_path: Path
) -> None:
    """It has lost its connection, and with it the lock. The other one may have ended already."""

    async def main() -> None:
        store = through(wire, tmp_path)
        await store.open()
        await launch(store)
        wire.is_down, wire.cut_at = True, b"BEGIN"
        pending = asyncio.create_task(launch(store))
        while not wire.cuts:
            await asyncio.sleep(0.01)
        other = Store.at(postgres.databases().url(tmp_path))
        await other.open()
        await launch(other)
        wire.is_down = False
        await asyncio.sleep(0.3)
        assert not pending.done(), "the other one still has the lock"
        await other.close()
        with pytest.raises(ConflictError, match="another control plane has written"):
            await pending
        with pytest.raises(ConflictError, match="another control plane has written"):
            await store.executions.create(
                NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
            )
        assert await store.executions.count_by_status() == {"queued": 2}
        await store.close()

    asyncio.run(main())
