"""A control plane whose store was damaged on its disk."""

import contextlib
import shutil
import sqlite3

import pytest

from tests.support.driver import Koco, needs_file


@needs_file
@pytest.mark.timeout(400)  # Ray starts four times
def test_a_damaged_store_is_told_as_that_and_a_backup_helps(fresh: Koco) -> None:
    """By `koco up`, with the file and what to do; what was backed up is there again."""
    fresh.up()
    fid = fresh.deploy("kept", "def go():\n    return 5\n").execute("go").fid
    fresh.run("down").ok()
    [store] = fresh.home.rglob("store.db")
    with contextlib.closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it in the one file
    backup = store.with_name("backup.db")
    shutil.copy(store, backup)
    # The middle of the file: its head is as it was, so it is still one of SQLite's.
    data = bytearray(store.read_bytes())
    for at in range(4096, len(data), 16):
        data[at] ^= 0xFF
    store.write_bytes(data)
    up = fresh.run("up", "--free-ports")
    assert up.code == 1
    assert f"the store is damaged: {store}" in up.err
    assert "put a backup in its place" in up.err
    assert "bug" not in up.err
    fresh.run("down").ok()
    shutil.move(backup, store)
    for name in ("store.db-wal", "store.db-shm"):
        store.with_name(name).unlink(missing_ok=True)
    fresh.up()
    assert fresh.get(f"/v1/executions/{fid}")["status"] == "finished"
