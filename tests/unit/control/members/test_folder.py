"""The mark that a data directory shares with its store."""

import asyncio
from pathlib import Path

from koco.control.members import folder
from koco.store.store import Store


def test_a_directory_belongs_to_the_store_of_the_first_process(tmp_path: Path) -> None:
    """Whatever store it belonged to before. Other processes only compare."""

    async def check() -> None:
        former, store = Store.at(tmp_path / "a" / "store.db"), Store.at(tmp_path / "b" / "store.db")
        await former.open()
        await store.open()
        try:
            assert not await folder.is_shared(former, tmp_path, owns=False)
            assert await folder.is_shared(former, tmp_path, owns=True)
            assert await folder.is_shared(former, tmp_path, owns=False)
            assert not await folder.is_shared(store, tmp_path, owns=False)
            assert await folder.is_shared(store, tmp_path, owns=True)
            assert await folder.is_shared(store, tmp_path, owns=False)
        finally:
            await store.close()
            await former.close()

    asyncio.run(check())
    assert (tmp_path / folder.FILE).stat().st_mode & 0o777 == 0o600
