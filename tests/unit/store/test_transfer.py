"""A store is copied into another one, of whichever engine: every row, and all that follows."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from koco.errors import ConflictError
from koco.events.model import Status
from koco.store import transfer
from koco.store.engine import rows
from koco.store.engine.protocol import Connection
from koco.store.engine.sqlite import schema
from koco.store.errors import StoreError
from koco.store.model import Answer, Filter, Key, NewExecution
from koco.store.store import Store
from koco.store.webhook_model import Webhook
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


def test_a_copy_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is compared before the commit."""
    (tmp_path / "a").mkdir()
    copy_all = rows.copy_all

    def falsely(source: Connection, target: Connection) -> None:
        copy_all(source, target)
        target.execute("UPDATE chunks SET first = first + 1 WHERE first > 3")

    monkeypatch.setattr(rows, "copy_all", falsely)

    async def main() -> None:
        async with opened("sqlite", tmp_path / "a") as old, opened("postgresql", tmp_path) as new:
            await fill(old)
            with pytest.raises(StoreError, match="the table chunks differ"):
                await transfer.copy(old.engine, new.engine)
            assert await new.executions.count_by_status() == {}

    asyncio.run(main())


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
