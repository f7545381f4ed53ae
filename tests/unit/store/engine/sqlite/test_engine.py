"""The SQLite engine: its file, its lock, its transactions."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from koco.errors import (
    ConflictError,
    NoRoomError,
)
from koco.store.errors import StoreError
from koco.store.store import Store
from tests.support.stores import (
    batch,
    begun,
    opened,
)


def test_refuses_to_open_a_file_that_is_open_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names another control plane."""
    monkeypatch.setattr("koco.store.engine.sqlite.engine._LOCK_PATIENCE_S", 0.1)

    async def main() -> None:
        async with opened("sqlite", tmp_path):
            with pytest.raises(ConflictError, match="another control plane"):
                await Store.at(tmp_path / "store.db").open()

    asyncio.run(main())


def test_refuses_a_file_of_a_newer_koco_and_leaves_it_alone(tmp_path: Path) -> None:
    """An older koco must not touch what it does not understand."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9999")

    async def main() -> None:
        with pytest.raises(ConflictError, match="9999"):
            await Store.at(path).open()

    asyncio.run(main())
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_refuses_new_data_on_a_full_disk_and_recovers(tmp_path: Path) -> None:
    """An append without room is not acknowledged. When there is room, it succeeds."""

    async def main() -> None:
        async with opened("sqlite", tmp_path) as store:
            execution = await begun(store)
            big = batch(execution.fid, 1, "x" * 200_000)
            pages = store.engine._db.execute("PRAGMA page_count").fetchone()[0]
            store.engine._db.execute(f"PRAGMA max_page_count = {pages + 1}")
            with pytest.raises(NoRoomError, match="full"):
                await store.events.append([big])
            store.engine._db.execute("PRAGMA max_page_count = 1000000")
            [ack] = await store.events.append([big])
            assert ack.last == 1

    asyncio.run(main())


def test_holds_nothing_if_it_cannot_be_opened(tmp_path: Path) -> None:
    """The error names the file. The store opens when the obstacle is gone."""

    async def main() -> None:
        path = tmp_path / "store.db"
        path.mkdir()
        with pytest.raises(StoreError, match=f"{path} could not be opened") as caught:
            await Store.at(path).open()
        assert caught.value.hint
        path.rmdir()
        store = Store.at(path)
        await store.open()
        await store.close()

    asyncio.run(main())
