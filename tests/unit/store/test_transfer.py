"""A store is copied into another one, of whichever engine: every row, and all that follows."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from koco.errors import ConflictError
from koco.events.model import Status
from koco.store import address, transfer
from koco.store.engine import rows
from koco.store.engine.protocol import Connection
from koco.store.engine.sqlite import schema
from koco.store.errors import StoreError
from koco.store.model import Answer, Filter, Key, NewExecution
from koco.store.store import Store
from koco.store.webhook_model import Webhook
from tests.bench.measures import history
from tests.support import postgres
from tests.support.stores import (
    KINDS,
    SHA,
    batch,
    begun,
    ended,
    events,
    launch,
    locked,
    new_file,
    opened,
)

BOTH_WAYS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


async def fill(store: Store) -> list[str]:
    """Store something of everything; return the executions' fids, the newest first."""
    await store.keys.put(Key(name="admin", digest=b"\0\xff", scopes=("admin",), created="2026"))
    await store.settings.put({"max_running": 3, "site": "é"})
    await store.secrets.own("own")
    await store.uploads.add("admin", SHA, 3)
    await store.schedules.pause("svc/flow", "", by="admin")
    gone = await ended(store)
    await store.executions.delete(gone.fid)
    done = await ended(store, result="a needle\0 in hay", tags=("t", "u"), user="ada")
    failed = await ended(store, error={"type": "E", "message": "m"})
    new = NewExecution(
        flow="svc/flow",
        service="svc",
        release=1,
        inputs={"x": "y" * 100_000},
        user="admin",
        key="once",
        key_digest="d",
        files=(new_file("in/a"),),
        tags=("nul\0",),
    )
    keyed, _ = await store.executions.create(new)
    running = await begun(store)
    for number in range(30):
        await store.events.append([batch(running.fid, number + 1, "z" * (number * 5000))])
    await locked(store, running, "lid")
    await store.locks.answer("lid", Answer(value={"ok": True}), by="ada")
    await store.webhooks.add(
        Webhook(id="w", url="https://e.org/", by="admin", name="n", sealed=b"s", made="2026")
    )
    await store.executions.settle(keyed.fid, Status.CANCELLED)
    return [running.fid, keyed.fid, failed.fid, done.fid]


@pytest.mark.parametrize(("source", "target"), BOTH_WAYS)
def test_a_copy_has_every_row_and_goes_on(source: str, target: str, tmp_path: Path) -> None:
    """New executions follow those that were copied, and search finds all of them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    async def main() -> None:
        async with opened(source, tmp_path / "a") as old, opened(target, tmp_path / "b") as new:
            fids = await fill(old)
            counts = await transfer.copy(old.engine, new.engine)
            assert counts["executions"] == 4
            assert counts["chunks"] > 30
            assert all(counts[table] for table in ("keys", "files", "tags", "changes", "webhooks"))
            for store in (old, new):
                page = await store.executions.page()
                assert [each.fid for each in page.items] == fids
                while await store.executions.index():
                    pass
                found = await store.executions.page(Filter(search="needle"))
                assert [each.fid for each in found.items] == fids[-1:]
            assert await new.executions.count_by_status() == await old.executions.count_by_status()
            running = await new.executions.get(fids[0])
            assert await events(new, running) == await events(old, running)
            assert await new.secrets.own("own") == await old.secrets.own("own")
            page = await old.changes.page()
            assert (await new.changes.page()).items == page.items
            cursor = await new.changes.latest()
            after = await launch(new)
            assert after.id > running.id
            assert [each.fid for each in (await new.changes.page(cursor=cursor)).items] == [
                after.fid
            ]
            await new.events.append([batch(running.fid, 31, "last")])
            assert (await events(new, running))[-1]["payload"] == "last"
            await locked(new, running, "another")

    asyncio.run(main())


def test_refuses_a_store_that_has_rows(tmp_path: Path) -> None:
    """Even if it is only a key."""
    (tmp_path / "a").mkdir()

    async def main() -> None:
        async with opened("sqlite", tmp_path / "a") as old, opened("postgresql", tmp_path) as new:
            await launch(old)
            await new.keys.put(Key(name="a", digest=b"a", scopes=("read",), created="2026"))
            with pytest.raises(ConflictError, match="is not empty"):
                await transfer.copy(old.engine, new.engine)
            assert (await new.executions.page()).items == []

    asyncio.run(main())


@pytest.mark.parametrize(("source", "target"), BOTH_WAYS)
def test_a_copy_goes_on_where_it_was_interrupted(
    source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each piece. Meanwhile nothing else can be done with it, and no row is copied twice."""
    monkeypatch.setattr(rows, "_ROWS", 2)
    added: list[str] = []
    add = rows.add

    def falter(target: Connection, piece: rows.Piece) -> None:
        add(target, piece)
        if len(added) % 2:
            added.append("")
            raise StoreError("the network is gone")
        added.append(piece.position)

    monkeypatch.setattr(rows, "add", falter)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    async def main() -> None:
        async with opened(source, tmp_path / "a") as old:
            await fill(old)
            engine = KINDS[target](tmp_path / "b").engine
            tries = 0
            while True:
                tries += 1
                await engine.open()
                try:
                    counts = await transfer.copy(old.engine, engine)
                    break
                except StoreError as exc:
                    assert "the network is gone" in str(exc)
                finally:
                    await engine.close()
                with pytest.raises(ConflictError, match="only a part of a store"):
                    await KINDS[target](tmp_path / "b").open()
            done = [each for each in added if each]
            assert len(done) == len(set(done))
            assert tries > 20
            assert counts["executions"] == 4
            async with opened(target, tmp_path / "b") as new:
                assert (await new.executions.page()).items == (await old.executions.page()).items

    asyncio.run(main())


def test_refuses_a_part_of_another_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of the same store, if it has been used in between."""
    monkeypatch.setattr(rows, "end", lambda _: (_ for _ in ()).throw(StoreError("interrupted")))
    for name in "abc":
        (tmp_path / name).mkdir()

    async def main() -> None:
        engine = KINDS["postgresql"](tmp_path / "c").engine
        await engine.open()
        async with opened("sqlite", tmp_path / "a") as old, opened("sqlite", tmp_path / "b") as two:
            await fill(old)
            await launch(two)
            with pytest.raises(StoreError, match="interrupted"):
                await transfer.copy(old.engine, engine)
            with pytest.raises(ConflictError, match="a part of a copy of another store"):
                await transfer.copy(two.engine, engine)
            await launch(old)
            with pytest.raises(ConflictError, match="before it was used again"):
                await transfer.copy(old.engine, engine)
            with pytest.raises(ConflictError, match="only a part of a store"):
                await transfer.copy(engine, two.engine)
        await engine.close()

    asyncio.run(main())


def test_a_copy_that_differs_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is compared before it can be used."""
    (tmp_path / "a").mkdir()
    end = rows.end

    def falsely(target: Connection) -> None:
        end(target)
        target.execute("UPDATE chunks SET first = first + 1 WHERE first > 3")

    monkeypatch.setattr(rows, "end", falsely)

    async def main() -> None:
        engine = KINDS["postgresql"](tmp_path).engine
        await engine.open()
        async with opened("sqlite", tmp_path / "a") as old:
            await fill(old)
            with pytest.raises(StoreError, match="the table chunks differ"):
                await transfer.copy(old.engine, engine)
        await engine.close()
        with pytest.raises(ConflictError, match="only a part of a store"):
            await KINDS["postgresql"](tmp_path).open()

    asyncio.run(main())


@pytest.mark.timeout(120)
def test_a_copy_survives_kills(tmp_path: Path) -> None:
    """The same command goes on, while a second one beside it is refused."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as db:
        schema.migrate(db)
    history.fill(str(tmp_path / "a.db"), 1.8e9, count=10_000)
    source, target = str(tmp_path / "a.db"), postgres.databases().url(tmp_path)
    reached = ""
    for kill in range(3):
        copying = start(source, target)
        reached = eventually(lambda: position(target), differs_from=reached)
        if kill == 1:
            copying.send_signal(signal.SIGSTOP)
            refused = start(source, target)
            assert "another control plane has" in refused.communicate(timeout=60)[1]
            assert refused.returncode == 2
        assert copying.poll() is None, copying.communicate()
        copying.kill()
        copying.communicate()
    copying = start(source, target)
    assert "10000 executions" in copying.communicate(timeout=60)[1]
    assert copying.returncode == 0

    async def main() -> None:
        old, new = (Store.at(address.place(place)) for place in (source, target))
        await old.open()
        await new.open()
        wanted = await old.executions.page(limit=100)
        assert (await new.executions.page(limit=100)).items == wanted.items
        for store in (old, new):
            await store.close()

    asyncio.run(main())


def start(source: str, target: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "koco", "store", "copy", "--from", source, "--to", target]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def position(url: str) -> str:
    """Return the position of a copy into a store that another process has open."""
    with psycopg.connect(url, options="-c search_path=koco") as db:
        found = db.execute("SELECT cursor FROM cursors WHERE name = 'copy:position'").fetchone()
    return found[0] if found else ""


def eventually(look: Callable[[], str], *, differs_from: str) -> str:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        if (found := look()) not in ("", differs_from):
            return found
        time.sleep(0.01)
    pytest.fail("nothing was copied")


def test_copies_all_tables() -> None:
    """Also those that a later version adds."""
    db = sqlite3.connect(":memory:")
    schema.migrate(db)
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {*rows.TABLES, *rows.REPLACED, *rows.APART}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_copy_in_a_file_is_of_one_moment(kind: str, tmp_path: Path) -> None:
    """It opens with SQLite, whatever it was made of: a backup."""
    path = tmp_path / "copy.db"

    async def main() -> None:
        async with opened(kind, tmp_path / "a") as store:
            fids = await fill(store)
            assert await store.copy(path) == [SHA]
            await launch(store)
        assert path.stat().st_mode & 0o777 == 0o600
        copied = Store.at(path)
        await copied.open()
        assert [each.fid for each in (await copied.executions.page()).items] == fids
        while await copied.executions.index():
            pass
        found = await copied.executions.page(Filter(search="needle"))
        assert [each.fid for each in found.items] == fids[-1:]
        await copied.close()

    (tmp_path / "a").mkdir()
    asyncio.run(main())
