"""Run a test with a store of each engine."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koco.store.engine.group_commit import Change
from koco.store.engine.sqlite import writer
from koco.store.engine.sqlite.connection import Connection
from tests.support.stores import (
    KINDS,
    Check,
    opened,
)

#: Tells the fid of each execution of which the row or the events change.
_WATCH = "CREATE TEMP TRIGGER {0}_{1} AFTER {1} ON main.{0} BEGIN SELECT note_change({2}); END"
_ROWS = {"INSERT": "new", "UPDATE": "new", "DELETE": "old"}


@pytest.fixture(autouse=True)
def touches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check of each change of each test that it says which executions it touches.

    Other processes of a shared store look again at those only.
    """
    init, attempt = writer.Writer.__init__, writer.Writer._attempt
    changed: set[str] = set()

    def watched_init(self: writer.Writer, db: Connection, **options: Any) -> None:
        init(self, db, **options)
        db.create_function("note_change", 1, changed.add)
        for kind, row in _ROWS.items():
            db.execute(_WATCH.format("executions", kind, f"{row}.fid"))
            fid = f"(SELECT fid FROM main.executions WHERE id = {row}.execution)"
            db.execute(_WATCH.format("chunks", kind, fid))

    def watched(self: writer.Writer, change: Change) -> object:
        changed.clear()
        result = attempt(self, change)
        missed = changed - self._db.touched - {None}
        # Tests change what they like, and nobody shares a store into which another one is copied.
        module = change.__module__
        is_of_store = module.startswith("koco.") and module != "koco.store.transfer"
        if missed and is_of_store and not isinstance(result, BaseException):
            return AssertionError(f"{change} does not say that it touches {sorted(missed)[:3]}")
        return result

    monkeypatch.setattr(writer.Writer, "__init__", watched_init)
    monkeypatch.setattr(writer.Writer, "_attempt", watched)


@pytest.fixture(params=sorted(KINDS))
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Check], None]:
    """Run a coroutine with an empty store of each kind."""

    def run(body: Check) -> None:
        async def main() -> None:
            async with opened(request.param, tmp_path) as store:
                await body(store)

        asyncio.run(main())

    return run
