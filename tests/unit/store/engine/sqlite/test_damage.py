"""A damaged file is reported as such, wherever it is read."""

import asyncio
import functools
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from koco.errors import KocoError, PathError
from koco.events import line
from koco.events.model import Kind, Status
from koco.events.wire import Batch
from koco.store.engine.protocol import Connection
from koco.store.errors import DamagedError, StoreError
from koco.store.model import AuditEntry, AuditQuery, Filter, Key, NewExecution
from koco.store.store import Store
from tests.support.releases import manifest

FIDS: list[str] = []


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something in most of its tables, closed."""
    path = tmp_path_factory.mktemp("sound") / "store.db"

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        for number in range(60):
            new = NewExecution(
                flow="s/f", service="s", release=1, inputs={"text": "word " * 30}, tags=("a",)
            )
            execution, _ = await store.executions.create(new)
            FIDS.append(execution.fid)
            await store.executions.assign(execution.fid, "r")
            body = b"\n".join(line.encode(Kind.STDOUT, "hello " * 9) for _ in range(20))
            await store.events.append(
                [
                    Batch(execution.fid, "p", 1, 0, b"", "r", Status.RUNNING),
                    Batch(execution.fid, "q", 1, 20, body, "r"),
                ]
            )
            if number % 2:
                last = line.encode(Kind.FINAL, {"answer": "word"})
                await store.events.append(
                    [Batch(execution.fid, "q", 21, 1, last, "r", Status.FINISHED)]
                )
            name = f"key-{number}"
            await store.keys.put(
                Key(name=name, digest=name.encode(), scopes=("read",), created="x")
            )
            await store.audit.add([AuditEntry(action="launch", who="ada", target=execution.fid)])
        await store.releases.create(
            "s", manifest=manifest(service="s"), bundle="b" * 64, fingerprint="f", by="ada"
        )
        while await store.executions.index():
            pass
        await store.close()

    asyncio.run(main())
    return path


def reads(store: Store) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return calls that read most of it."""
    fid = FIDS[31]
    return {
        "keys": lambda: store.keys.page(limit=100),
        "key": lambda: store.keys.find(b"key-7"),
        "executions": lambda: store.executions.page(Filter(), limit=100),
        "search": lambda: store.executions.page(Filter(search="word"), limit=100),
        "by tag": lambda: store.executions.page(Filter(tags=("a",)), limit=100),
        "execution": lambda: store.executions.get(fid),
        "open": store.executions.all_open,
        "tallies": store.executions.count_by_status,
        "chunks": lambda: store.events.after(32, 0, budget_bytes=1 << 20),
        "back": lambda: store.events.before(32, 99, budget_bytes=1 << 20),
        "audit": lambda: store.audit.page(AuditQuery(), limit=100),
        "changes": lambda: store.changes.page(limit=100),
        "releases": lambda: store.releases.with_status("s"),
        "present": store.releases.present,
        "settings": store.settings.all,
        "cancel": lambda: store.executions.request_cancel(FIDS[30], grace_s=1),
        "append": lambda: store.events.append(
            [Batch(FIDS[32], "q", 21, 1, line.encode(Kind.STDOUT, "x"), "r")]
        ),
        "create": lambda: store.executions.create(
            NewExecution(flow="f", service="", release=0, inputs={})
        ),
        "index": store.executions.index,
    }


@pytest.mark.parametrize("seed", range(40))
def test_reports_flipped_bytes_as_damage_wherever_they_are_read(
    sound: Path, tmp_path: Path, seed: int
) -> None:
    """The error says where, and how to recover. All errors are a `KocoError`."""
    path = tmp_path / "store.db"
    shutil.copy(sound, path)
    dice = random.Random(seed)
    data = bytearray(path.read_bytes())
    # All over the file. A few seeds also change its header.
    first = 0 if seed % 8 == 0 else 200
    for _ in range(200):
        data[dice.randrange(first, len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)

    async def main() -> None:
        store = Store.at(path)
        try:
            await store.open()
        except KocoError as exc:
            _check_report(exc, path)
            return
        try:
            for read in reads(store).values():
                try:
                    await read()
                except KocoError as exc:
                    _check_report(exc, path)
        finally:
            await store.close()

    asyncio.run(main())


def _check_report(exc: KocoError, path: Path) -> None:
    if isinstance(exc, DamagedError):
        assert str(path) in exc.message
        assert exc.message.startswith("the store is damaged: ")
        assert "backup" in (exc.hint or "")
    else:
        # A row may seem to be missing, or the file to be a newer koco's.
        assert not isinstance(exc, StoreError), exc.message


@pytest.mark.parametrize(
    ("column", "value", "read"),
    [
        ("inputs", b"{\xff}", "executions"),
        ("inputs", '{"a": ', "execution"),
        ("inputs", None, "open"),
        ("status", "finishedx", "executions"),
        ("tags", '["a"', "executions"),
        ("flow", b"\xff\xfe", "execution"),
    ],
)
def test_reports_an_invalid_row_as_damage(
    sound: Path, tmp_path: Path, column: str, value: Any, read: str
) -> None:
    """SQLite accepts it, but it cannot be decoded."""
    path = tmp_path / "store.db"
    shutil.copy(sound, path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = 1")
    db.execute("PRAGMA ignore_check_constraints = 1")
    text = f"CAST(x'{value.hex()}' AS TEXT)" if isinstance(value, bytes) else "?"
    if value is None:
        db.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'inputs TEXT NOT NULL', 'inputs TEXT')"
            " WHERE name = 'executions'"
        )
        db.commit()
        db.close()
        db = sqlite3.connect(path)
    values = () if isinstance(value, bytes) else (value,)
    db.execute(f"UPDATE executions SET {column} = {text}", values)
    db.commit()
    db.close()

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            with pytest.raises(DamagedError) as caught:
                await reads(store)[read]()
            _check_report(caught.value, path)
        finally:
            await store.close()

    asyncio.run(main())


def test_a_damaged_row_does_not_affect_other_changes(sound: Path, tmp_path: Path) -> None:
    """An invalid text has the same class as a failing disk, but fails one change only."""
    path = tmp_path / "store.db"
    shutil.copy(sound, path)
    db = sqlite3.connect(path)
    db.execute("UPDATE executions SET runner = CAST(x'ff' AS TEXT) WHERE fid = ?", (FIDS[30],))
    db.commit()
    db.close()

    async def main() -> None:
        store = Store.at(path)
        await store.open()
        try:
            body = line.encode(Kind.STDOUT, "x")
            new = NewExecution(flow="f", service="", release=0, inputs={})
            found = await asyncio.gather(
                store.executions.create(new),
                store.events.append([Batch(FIDS[30], "q", 21, 1, body, "r")]),
                store.executions.create(new),
                return_exceptions=True,
            )
            assert isinstance(found[1], DamagedError)
            assert [isinstance(each, tuple) for each in found] == [True, False, True]
        finally:
            await store.close()

    asyncio.run(main())


def test_every_way_into_the_store_reports_damage(tmp_path: Path) -> None:
    """With the name of the work; other errors, and mistakes in a call, stay as they are."""

    def decode(db: Connection) -> None:
        raise ValueError("not a row")

    def refuse(db: Connection) -> None:
        raise PathError("a refusal that is a `ValueError`, too")

    async def main() -> None:
        store = Store.at(tmp_path / "store.db")
        await store.open()
        try:
            for way in (
                store.engine.read,
                store.engine.write,
                store.engine.scan,
                functools.partial(store.engine.scan, apart=True),
            ):
                with pytest.raises(DamagedError, match="test_every_way"):
                    await way(decode)
                with pytest.raises(PathError):
                    await way(refuse)
            with pytest.raises(TypeError):
                await store.keys.get()  # type: ignore[call-arg]
        finally:
            await store.close()

    asyncio.run(main())
