"""`koco store copy`: a store that nobody has open, into a place that has none."""

import asyncio
import json
from pathlib import Path

from koco.store.store import Store
from tests.support import postgres
from tests.support.stores import begun, launch
from tests.unit.conftest import Cli


def filled(path: Path) -> Store:
    """Return a store in a file, with two executions."""

    async def main() -> Store:
        store = Store.at(path)
        await store.open()
        await launch(store)
        await begun(store)
        await store.close()
        return store

    return asyncio.run(main())


async def statuses(store: Store) -> list[str]:
    await store.open()
    try:
        return [each.status for each in (await store.executions.page()).items]
    finally:
        await store.close()


def test_moves_a_store_into_a_database_and_back(cli: Cli, tmp_path: Path) -> None:
    """It prints where the copy is; as JSON, how many rows each table has."""
    filled(tmp_path / "store.db")
    url = postgres.databases().url(tmp_path)
    ran = cli("store", "copy", "--from", str(tmp_path / "store.db"), "--to", url)
    assert (ran.code, ran.out) == (0, f"{url}\n"), ran.err
    assert "2 executions" in ran.err
    back = tmp_path / "back.db"
    ran = cli("store", "copy", "--from", url, "--to", str(back), "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["from"], told["to"]) == (url, str(back))
    assert told["rows"]["executions"] == 2
    assert asyncio.run(statuses(Store.at(back))) == ["running", "queued"]
    assert asyncio.run(statuses(Store.at(url))) == ["running", "queued"]


def test_refuses_a_store_in_use_and_one_that_is_missing(cli: Cli, tmp_path: Path) -> None:
    """And targets that have rows, and URLs with passwords. Nothing is made then."""
    store = filled(tmp_path / "store.db")
    other = filled(tmp_path / "other.db")
    new = tmp_path / "new.db"

    def refused(source: str, target: str) -> str:
        ran = cli("store", "copy", "--from", source, "--to", target)
        assert ran.code == 2, ran.err
        assert not new.exists()
        return ran.err

    assert "is not empty" in refused(store.engine.location, other.engine.location)
    assert "there is no store in" in refused(str(tmp_path / "none.db"), str(new))
    assert "cannot have a password" in refused(store.engine.location, "postgres://a:b@c/d")

    async def main() -> None:
        await store.open()
        try:
            said = await asyncio.to_thread(refused, store.engine.location, str(new))
        finally:
            await store.close()
        assert "another control plane has" in said

    asyncio.run(main())
