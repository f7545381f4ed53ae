"""A store that an older koco has written comes forward with all that is in it."""

import asyncio
import gc
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from koco.errors import ConflictError
from koco.events import line
from koco.events.model import Batch, Kind, Status
from koco.store.model import Filter, NewExecution
from koco.store.sqlite import SqliteStore, schema
from tests.support.releases import manifest

#: Of the steps that are out in the world: what they have made cannot be made otherwise.
SHIPPED = (
    "1dda5b797c32fe5dc33c35a8a125914c153ea7b3aa3d9d3a259ac23e78dbc239",
    "9a836dc900ebd6f333b4d5494ea5cf9ac1f9f4e1d3c71b80dd3f1f17cfa1a7a4",
)

TS = "2026-01-31T12:00:00.123456Z"
MANIFEST = {
    "service": "svc",
    "flows": [{"name": "flow", "entrypoint": "m:f"}],
    "runner": {"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 1, "executions": None},
}
STATUSES = ("queued", "running", "awaiting", "finished", "finished", "error")


def test_shipped_steps_are_never_edited() -> None:
    """Whoever needs another table adds a step."""
    steps = schema.MIGRATIONS[: len(SHIPPED)]
    assert tuple(hashlib.sha256(step.encode()).hexdigest() for step in steps) == SHIPPED


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of version 2, with one row and more of everything."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for step in schema.MIGRATIONS[:2]:
            db.executescript(step)
        db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO secrets VALUES ('bundles', x'00ff')")
        db.execute("INSERT INTO keys VALUES ('admin', x'aa', 'admin', ?)", (TS,))
        db.execute(
            "INSERT INTO releases (service, number, status, bundle, fingerprint, manifest, flows,"
            " created, ready, by, app) VALUES ('svc', 1, 'live', 'b', 'f', ?, ?, ?, ?, 'admin', ?)",
            (
                json.dumps(MANIFEST),
                '[{"name":"flow","entrypoint":"m:f","form":null}]',
                TS,
                TS,
                None,
            ),
        )
        for number, status in enumerate(STATUSES, 1):
            _execution(db, number, status)
        db.execute(
            "INSERT INTO locks (lid, execution, name, data, status, created, expires)"
            " VALUES ('lid', 3, 'go', '1', 'open', ?, 4e9)",
            (TS,),
        )
        db.execute("INSERT INTO files VALUES (4, 'out/a', ?, 3, ?, 'flow')", ("ab" * 32, TS))
        db.execute("INSERT INTO uploads VALUES ('admin', ?, 3, ?)", ("ab" * 32, TS))
    return path


def _execution(db: sqlite3.Connection, number: int, status: str) -> None:
    begun = status != "queued"
    db.execute(
        "INSERT INTO executions (id, fid, flow, service, release, status, inputs, user, tags,"
        " created, started, finished, last_seq, runner, key)"
        " VALUES (?, ?, 'svc/flow', 'svc', 1, ?, '{\"n\":1}', 'admin', '[]', ?, ?, ?, 2, ?, ?)",
        (
            number,
            f"fid{number}",
            status,
            TS,
            TS if begun else None,
            TS if status in ("finished", "error") else None,
            "runner" if begun else "",
            f"key{number}",
        ),
    )
    body = b"\n".join([line.encode(Kind.RESULT, number), line.encode(Kind.RESULT, 2)])
    db.execute("INSERT INTO chunks VALUES (?, ?, 1, 2, ?)", (number, number, body))
    db.execute("INSERT INTO producers VALUES (?, 'p', 2)", (number,))


def test_everything_is_kept(old: Path) -> None:
    """Rows, counts, events, locks, files; and it takes new ones."""

    async def main() -> None:
        store = SqliteStore(old)
        await store.open()
        try:
            counts = {status: STATUSES.count(status) for status in STATUSES}
            assert await store.tallies() == counts
            found = [each.fid for each in await store.open_executions()]
            assert found == ["fid1", "fid2", "fid3"]
            assert (await store.execution("fid2")).inputs == {"n": 1}
            keyed = await store.keyed("admin", "key4")
            assert keyed is not None and keyed.fid == "fid4"
            [chunk] = await store.chunks(2, after=0, budget_bytes=1000)
            payloads = [line.decode(*pair)["payload"] for pair in line.number_lines(1, chunk.body)]
            assert payloads == [2, 2]
            assert (await store.lock("lid")).status == "open"
            assert [each.path for each in await store.files(4)] == ["out/a"]
            assert await store.secret("bundles") == b"\x00\xff"
            key = await store.key(b"\xaa")
            assert key is not None and (key.name, key.scopes, key.sees_all) == (
                "admin",
                ("admin",),
                True,
            )
            live = await store.live_release("svc")
            assert live is not None and live.manifest == manifest(**MANIFEST)

            # What was under way goes on: the next event, the end, another launch.
            end = Batch("fid2", "p", 3, 1, line.encode(Kind.FINAL, 1), "runner", Status.FINISHED)
            [ack] = await store.append([end])
            assert (ack.last, ack.closed) == (3, False)
            await store.create(NewExecution(flow="svc/flow", service="svc", release=1, inputs={}))
            counts = {**counts, "running": 0, "finished": 3, "queued": 2}
            assert await store.tallies() == {k: n for k, n in counts.items() if n}
        finally:
            await store.close()

    asyncio.run(main())
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_what_was_there_is_made_searchable_later(old: Path) -> None:
    """Newest first, in the background; until then a search says that it is not complete."""
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute('UPDATE executions SET tags = \'["a","b","a"]\' WHERE id > 4')
        db.execute("UPDATE executions SET outcome_seq = 2 WHERE status = 'finished'")

    async def main() -> None:
        store = SqliteStore(old)
        await store.open()
        try:
            new = NewExecution(flow="svc/flow", service="svc", release=1, inputs={"n": 1})
            fid = (await store.create(new))[0].fid
            page = await store.executions(Filter(search="1"))
            assert ([each.fid for each in page.items], page.complete) == ([fid], False)
            while await store.index():
                pass
            page = await store.executions(Filter(search="1"))
            assert [each.fid for each in page.items] == [fid, *(f"fid{n}" for n in range(6, 0, -1))]
            assert page.complete
            tagged = (await store.executions(Filter(tags=("b",)))).items
            assert [each.fid for each in tagged] == ["fid6", "fid5"]
            since = (await store.executions(Filter(since=TS, until=f"{TS}~"))).items
            assert len(since) == len(STATUSES)
            changes = (await store.changes()).items
            assert [each.fid for each in changes] == [*(f"fid{n}" for n in range(1, 7)), fid]
        finally:
            await store.close()

    asyncio.run(main())


def test_a_newer_store_keeps_every_byte(old: Path) -> None:
    """Also of what its last process left in the log beside the file."""
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA user_version = 99")
        names = ("store.db", "store.db-wal")
        left = {name: old.with_name(name).read_bytes() for name in names}
    for name, content in left.items():
        old.with_name(name).write_bytes(content)  # as after a kill -9: closing has tidied up

    async def main() -> None:
        with pytest.raises(ConflictError, match="version 99"):
            await SqliteStore(old).open()

    asyncio.run(main())
    gc.collect()  # a connection that is left behind is closed, and that tidies up
    assert {name: old.with_name(name).read_bytes() for name in names} == left
