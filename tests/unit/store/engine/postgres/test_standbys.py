"""A synchronous standby that is away: changes wait, and it is said what for."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from koco.control.health import doctor
from koco.store.engine.postgres import standbys
from koco.store.store import Store
from tests.support import postgres
from tests.support.members import until
from tests.support.stores import launch


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    server = postgres.Server()
    server.execute("CREATE DATABASE own")
    yield server
    server.remove()


def expect(server: postgres.Server, names: str) -> None:
    """Let the server wait for standbys of these names."""
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.execute("SELECT pg_reload_conf()")


def test_changes_that_wait_for_a_standby_are_told(
    server: postgres.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the log after a while, once; by the doctor and `/health`; and nothing is lost."""
    monkeypatch.setattr(standbys, "_PATIENCE_S", 1.5)
    caplog.set_level(logging.WARNING, "koco.store.engine.postgres.standbys")

    async def main() -> None:
        store = Store.at(server.url("own"))
        await store.open()
        parts: Any = SimpleNamespace(store=store)
        try:
            await launch(store)
            assert await store.engine.missed_standbys() is None
            expect(server, "elsewhere")
            await asyncio.sleep(0.5)
            waiting = asyncio.ensure_future(launch(store))
            await until(lambda: "none of 'elsewhere' follows" in caplog.text, most_s=60)
            [found] = await doctor._store(parts)
            assert found.status == "failed" and "none of 'elsewhere' follows" in found.message
            assert "synchronous_standby_names" in (found.hint or "")
            assert not waiting.done()
            expect(server, "")
            execution = await waiting
            assert (await store.executions.get(execution.fid)).fid == execution.fid
            assert await store.engine.missed_standbys() is None
            [found] = await doctor._store(parts)
            assert found.status == "ok"
        finally:
            await store.close()

    asyncio.run(main())
    said = [each.message for each in caplog.records]
    assert len(said) == 2 and "no longer wait" in said[1]


def test_health_says_what_changes_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that does not come back has a reason then."""
    from koco.control.health.doctor import Doctor
    from tests.support.pools import World, world
    from tests.unit.control.health.test_doctor import parts

    monkeypatch.setattr(doctor, "_HEALTH_S", 0.2)

    async def hangs() -> int:
        await asyncio.Event().wait()
        return 0

    async def missed() -> str:
        return "elsewhere"

    async def body(w: World) -> None:
        assert (await Doctor(parts(w)).health()).waits_for is None
        monkeypatch.setattr(w.store.engine, "probe", hangs)
        monkeypatch.setattr(w.store.engine, "missed_standbys", missed)
        health = await Doctor(parts(w)).health()
        assert (health.store, health.waits_for, health.status) == ("failed", "standby", "degraded")

    world(tmp_path, body)
