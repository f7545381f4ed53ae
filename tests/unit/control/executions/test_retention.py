"""What is no longer kept goes: by flow, only what has ended, and in pieces."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from koco.control.access.audit import Audit
from koco.control.executions import retention
from koco.control.executions.retention import Retention
from koco.control.settings import Settings
from koco.events.model import Status
from koco.store.model import AuditEntry, AuditQuery, Execution, NewExecution, NewFile
from koco.store.store import Store
from tests.support.pools import over_store
from tests.support.releases import manifest

OLD = "2020-01-01T00:00:00.000000Z"


async def ended(store: Store, flow: str = "svc/a", *, ago: bool = True, **more: Any) -> Execution:
    """Return an execution that ended years ago, or just now."""
    files = (NewFile(path="out/x", sha256="0" * 64, size_bytes=1),) if more.get("files") else ()
    new = NewExecution(flow=flow, service="svc", release=1, inputs={}, user="ada", files=files)
    execution, _ = await store.executions.create(new)
    if more.get("status", True):
        await store.executions.settle(execution.fid, Status.ERROR)
    if ago:
        await store.engine.write(
            lambda db: db.execute(
                "UPDATE executions SET created = :old,"
                " finished = CASE WHEN finished IS NULL THEN NULL ELSE :old END WHERE id = :id",
                {"old": OLD, "id": execution.id},
            )
        )
        await store.engine.write(
            lambda db: db.execute("UPDATE spans SET earliest = :old", {"old": OLD})
        )
    return execution


async def left(store: Store) -> set[str]:
    page = await store.executions.page(limit=1000)
    return {each.fid for each in page.items}


async def release(store: Store, **keep: Any) -> None:
    flows = [
        {"name": name, "entrypoint": "m:f", **({"keep": keep[name]} if name in keep else {})}
        for name in ("a", "b")
    ]
    service = {"keep": keep["service"]} if "service" in keep else {}
    declared = manifest(flows=flows, **service)
    await store.releases.create("svc", bundle="", fingerprint="", manifest=declared, by="ada")


def sweeper(store: Store, **settings: float) -> tuple[Retention, list[str]]:
    woken: list[str] = []
    sweeps = Retention(store, Settings(**settings), Audit(store), wake=woken.append)
    return sweeps, woken


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAUSE_S", 0.0)


def test_by_default_everything_is_kept(tmp_path: Path) -> None:
    """However old it is."""

    async def body(store: Store) -> None:
        old = await ended(store, files=True)
        sweeps, _ = sweeper(store)
        assert await sweeps.sweep() == {"executions": 0, "files_of": 0, "audit": 0}
        assert await left(store) == {old.fid}

    over_store(tmp_path, body)


def test_only_what_ended_long_ago_goes(tmp_path: Path) -> None:
    """Open ones stay, however old; the audit log has the numbers, and streams end."""

    async def body(store: Store) -> None:
        gone = [await ended(store) for _ in range(3)]
        new = await ended(store, ago=False)
        open_one = await ended(store, status=False)
        sweeps, woken = sweeper(store, keep_executions_days=30)
        assert (await sweeps.sweep())["executions"] == 3
        assert await left(store) == {new.fid, open_one.fid}
        assert set(woken) == {each.fid for each in gone}
        [entry] = (await store.audit.page(AuditQuery(action="retention"))).items
        assert (entry.who, entry.detail["executions"]) == ("koco", 3)
        assert (await sweeps.sweep())["executions"] == 0

    over_store(tmp_path, body)


def test_more_than_a_piece_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if younger ones stand between old ones."""
    monkeypatch.setattr("koco.store.retention._PIECE", 3)

    async def body(store: Store) -> None:
        kept = set()
        for number in range(20):
            execution = await ended(store, files=True)
            if number % 5 == 1:
                kept.add(execution.fid)
                await store.engine.write(
                    lambda db, number=execution.id: db.execute(  # type: ignore[misc]
                        "UPDATE executions SET finished = '2999' WHERE id = :id", {"id": number}
                    )
                )
        sweeps, _ = sweeper(store, keep_files_days=30)
        assert (await sweeps.sweep())["files_of"] == 16
        sweeps, _ = sweeper(store, keep_executions_days=30)
        assert (await sweeps.sweep())["executions"] == 16
        assert await left(store) == kept

    over_store(tmp_path, body)


@pytest.mark.parametrize(
    ("keep", "days", "kept"),
    [
        ({}, 30, ""),
        ({"a": "forever"}, 30, "a"),
        ({"service": "forever"}, 30, "ab"),
        ({"service": "forever", "a": "1d"}, 0, "b"),
        ({"b": "12h"}, 0, "a"),
        ({"service": "36500d"}, 30, "ab"),
    ],
)
def test_a_manifest_differs_from_the_setting(
    tmp_path: Path, keep: dict[str, str], days: float, kept: str
) -> None:
    """A flow from its service, and a service from the control plane."""

    async def body(store: Store) -> None:
        await release(store, **keep)
        for name in "ab":
            await ended(store, f"svc/{name}")
        sweeps, _ = sweeper(store, keep_executions_days=days)
        await sweeps.sweep()
        page = await store.executions.page(limit=10)
        assert {each.flow for each in page.items} == {f"svc/{name}" for name in kept}

    over_store(tmp_path, body)


def test_files_may_go_first(tmp_path: Path) -> None:
    """The execution stays, and what was created since keeps its files."""

    async def body(store: Store) -> None:
        old, new = await ended(store, files=True), await ended(store, files=True, ago=False)
        sweeps, _ = sweeper(store, keep_files_days=7)
        assert (await sweeps.sweep())["files_of"] == 1
        assert await left(store) == {old.fid, new.fid}
        assert await store.files.all_of(old.id) == []
        assert len(await store.files.all_of(new.id)) == 1

    over_store(tmp_path, body)


def test_the_audit_log_loses_only_what_is_old(tmp_path: Path) -> None:
    """The database still refuses to remove anything else."""

    async def body(store: Store) -> None:
        await store.engine.write(
            lambda db: db.execute(
                "INSERT INTO audit (ts, who, credential, action, target, outcome, address, request)"
                f" VALUES ('{OLD}', 'ada', '', 'old', '', 'ok', '', '')"
            )
        )
        await store.audit.add([AuditEntry(action="new", who="ada")])
        sweeps, _ = sweeper(store, keep_audit_days=30)
        assert (await sweeps.sweep())["audit"] == 1
        actions = [each.action for each in (await store.audit.page(AuditQuery())).items]
        assert actions == ["retention", "new"]
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await store.engine.write(lambda db: db.execute("DELETE FROM audit"))

    over_store(tmp_path, body)
