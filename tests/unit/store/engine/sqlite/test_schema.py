"""A store of an older version is migrated with all that is in it; a newer one is left alone."""

import asyncio
import gc
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from koco.errors import ConflictError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store import version
from koco.store.engine.sqlite import schema
from koco.store.model import Answer, FailureEvent, Filter, Key, NewExecution, NewFile
from koco.store.store import Store
from koco.store.webhook_model import Webhook
from tests.support.releases import flow, manifest

#: Digests of the steps that have shipped. Stores in the world were made by them.
SHIPPED: tuple[str, ...] = (
    "500b485a93e3a2281521b2f721490abc32f210c05257f5f04688534c367b36e6",
    "392a54005975d7a94d8bf431876ce74b8e89d6a830bf00791c300c898209ee45",
    "481299d4a0c1b09aa0f7e9c1641ace15ca1d6a9d43ae850a9f20fd777f29ec0e",
)

MANIFEST = {
    "service": "svc",
    "flows": [{"name": "flow", "entrypoint": "m:f"}],
    "runner": {"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 1, "executions": None},
}
SHA = "ab" * 32
#: A further step, as a later koco may have it.
STEP = "ALTER TABLE executions ADD COLUMN note TEXT NOT NULL DEFAULT 'none'"


def test_shipped_steps_are_never_edited() -> None:
    """A change to the tables is a further step."""
    steps = schema.MIGRATIONS[: len(SHIPPED)]
    assert tuple(hashlib.sha256(step.encode()).hexdigest() for step in steps) == SHIPPED


def test_the_steps_lead_to_the_version_of_all_engines() -> None:
    """There is one step for each version."""
    assert len(schema.MIGRATIONS) == version.LATEST


async def _fill(store: Store) -> list[str]:
    """Store a row and more of everything; return the executions' fids."""
    await store.keys.put(Key(name="admin", digest=b"a", scopes=("admin",), created="2026"))
    await store.releases.create(
        "svc",
        bundle="b",
        fingerprint="f",
        manifest=manifest(**MANIFEST),
        by="admin",
        timings={"upload": 1.0},
    )
    await store.releases.go_live("svc", 1, [flow()])
    await store.uploads.add("admin", SHA, 3)
    fids = []
    for number in range(4):
        new = NewExecution(
            flow="svc/flow",
            service="svc",
            release=1,
            inputs={"n": number},
            user="admin",
            tags=("a", "b", "a"),
            key=f"key{number}",
            files=(NewFile(path="in/a", sha256=SHA, size_bytes=3),),
        )
        fids.append((await store.executions.create(new))[0].fid)
    for fid in fids[1:]:
        await store.executions.assign(fid, "runner")
        await store.events.append([Batch(fid, "p", 1, 0, b"", "runner", Status.RUNNING)])
    await store.locks.open(fids[2], "lid", name="go", data=1, expires=4e9)
    await store.executions.settle(fids[3], Status.ERROR, FailureEvent(type="E", message="m"))
    return fids


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, list[str]]:
    """A store of this version, and its executions' fids."""
    path = tmp_path / "store.db"

    async def main() -> list[str]:
        store = Store.at(path)
        await store.open()
        try:
            return await _fill(store)
        finally:
            await store.close()

    return path, asyncio.run(main())


def test_everything_is_kept(old: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a further step the store has all that it had, and goes on."""
    path, fids = old
    monkeypatch.setattr(version, "LATEST", version.LATEST + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, STEP))

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            assert await store.engine.probe() == version.LATEST
            assert await store.executions.count_by_status() == dict.fromkeys(
                ("queued", "running", "awaiting", "error"), 1
            )
            assert [each.fid for each in await store.executions.all_open()] == fids[:3]
            found = await store.executions.find_by_key("admin", "key1")
            assert found is not None and (found.fid, found.inputs) == (fids[1], {"n": 1})
            tagged = (await store.executions.page(Filter(tags=("b",)))).items
            assert [each.fid for each in tagged] == fids[::-1]
            assert [each.path for each in await store.files.all_of(found.id)] == ["in/a"]
            key = await store.keys.find(b"a")
            assert key is not None and key.scopes == ("admin",)
            live = await store.releases.live("svc")
            assert live is not None and live.manifest == manifest(**MANIFEST)
            changes = (await store.changes.page()).items
            assert sorted(each.fid for each in changes) == sorted(fids)

            await store.locks.answer("lid", Answer(value=2), by="ada")
            end = Batch(fids[1], "p", 1, 1, line.encode(Kind.FINAL, 1), "runner", Status.FINISHED)
            [ack] = await store.events.append([end])
            assert (ack.last, ack.closed) == (1, False)
            assert (await store.executions.get(fids[1])).status is Status.FINISHED
        finally:
            await store.close()

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version.LATEST,)
        assert db.execute("SELECT DISTINCT note FROM executions").fetchall() == [("none",)]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_store_from_before_webhooks_gets_them(tmp_path: Path) -> None:
    """What is launched after the upgrade is told of."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(f"{''.join(schema.MIGRATIONS[:5])}; PRAGMA user_version = 5")

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            await store.webhooks.add(
                Webhook(id="w", name="w", url="https://example.com/", by="admin")
            )
            new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={})
            fid = (await store.executions.create(new))[0].fid
            await store.executions.settle(fid, Status.ERROR, FailureEvent(type="E", message=""))
            [told] = (await store.deliveries.page()).items
            assert (told.fid, told.event) == (fid, "error")
        finally:
            await store.close()

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_failing_step_changes_nothing(
    old: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store stays at its version, and the koco that wrote it opens it again."""
    path, fids = old
    with monkeypatch.context() as patched:
        patched.setattr(version, "LATEST", version.LATEST + 1)
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, f"{STEP}; SELECT no_such"))

        async def fail() -> None:
            with pytest.raises(Exception, match="no_such"):
                await Store.at(path).open()

        asyncio.run(fail())
        gc.collect()  # closes the connection, which has an open transaction

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            assert await store.engine.probe() == version.LATEST
            assert len((await store.executions.page()).items) == len(fids)
        finally:
            await store.close()

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as db:
        assert "note" not in [row[1] for row in db.execute("PRAGMA table_info(executions)")]


def test_executions_from_before_the_index_are_made_searchable(
    old: tuple[Path, list[str]],
) -> None:
    """Newest first, in the background; until then a search says that it is not complete."""
    path, fids = old
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE search")  # as if this Python had no FTS5 until now

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={"n": 1})
            fid = (await store.executions.create(new))[0].fid
            page = await store.executions.page(Filter(search="n"))
            assert ([each.fid for each in page.items], page.complete) == ([fid], False)
            while await store.executions.index():
                pass
            page = await store.executions.page(Filter(search="n"))
            assert [each.fid for each in page.items] == [fid, *reversed(fids)]
            assert page.complete
        finally:
            await store.close()

    asyncio.run(main())


def test_a_newer_store_keeps_every_byte(old: tuple[Path, list[str]]) -> None:
    """Also those that its last process left in the log next to the file."""
    path, _ = old
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA user_version = 99")
        names = ("store.db", "store.db-wal")
        left = {name: path.with_name(name).read_bytes() for name in names}
    for name, content in left.items():
        path.with_name(name).write_bytes(content)  # as after a kill -9: closing has tidied up

    async def main() -> None:
        with pytest.raises(ConflictError, match="version 99"):
            await Store.at(path).open()

    asyncio.run(main())
    gc.collect()  # a connection that is left behind is closed, and that tidies up
    assert {name: path.with_name(name).read_bytes() for name in names} == left
