"""A snapshot is of one moment, whatever is committed while it is taken."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from koco.events.model import Status
from koco.store.executions import snapshots
from koco.store.store import Store
from tests.support.stores import Check, begun, ended, locked


def test_has_the_parts_that_are_asked_for(check: Callable[[Check], None]) -> None:
    async def body(store: Store) -> None:
        execution = await begun(store)
        await locked(store, execution, "lid1")
        found = await store.snapshots.get(execution.fid, outcome=True, locks=True)
        assert (found.execution.status, found.outcome) == (Status.AWAITING, None)
        assert [each.lid for each in found.locks] == ["lid1"]
        other = await ended(store)
        found = await store.snapshots.get(other.fid, outcome=True, locks=True)
        assert found.outcome is not None and b'"done"' in found.outcome.body
        found = await store.snapshots.get(other.fid, outcome=False, locks=False)
        assert (found.outcome, found.locks) == (None, [])

    check(body)


def test_a_commit_meanwhile_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an execution could be awaiting without a lock."""
    path = tmp_path / "store.db"
    open_ones = snapshots.locks.open_ones

    def meanwhile(*args: object, **more: object) -> object:
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE locks SET status = 'answered'")
            db.commit()
        return open_ones(*args, **more)  # type: ignore[arg-type]

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            execution = await begun(store)
            await locked(store, execution, "lid1")
            with monkeypatch.context() as patched:
                patched.setattr(snapshots.locks, "open_ones", meanwhile)
                found = await store.snapshots.get(execution.fid, outcome=False, locks=True)
            assert found.execution.status is Status.AWAITING
            assert [each.lid for each in found.locks] == ["lid1"]
            after = await store.snapshots.get(execution.fid, outcome=False, locks=True)
            assert after.locks == []
        finally:
            await store.close()

    asyncio.run(main())
