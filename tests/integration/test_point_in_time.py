"""A store in PostgreSQL goes back to a moment: the recipe in docs/clusters.md, carried out."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.driver import Koco, eventually, koco_of_its_own
from tests.support.postgres import SETTINGS, Server

#: Its own Ray starts in the test's time, and two servers do.
pytestmark = pytest.mark.timeout(400)

CODE = """
    import asyncio

    async def emit(tracer, count: int = 3, pause: float = 0.0):
        for number in range(count):
            await tracer.result(number)
            await asyncio.sleep(pause)
        return count

    async def ask(tracer):
        return await tracer.lock("approval", {})
"""
FLOWS: list[dict[str, Any]] = [
    {"name": "emit", "entrypoint": "past_app:emit"},
    {"name": "ask", "entrypoint": "past_app:ask", "durable": True},
]


@pytest.fixture
def archive() -> Iterator[Path]:
    """A folder for the server's log."""
    folder = Path(f"/tmp/koco-archive-{time.time_ns()}")
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def _archiving(archive: Path) -> dict[str, str]:
    return {
        **SETTINGS,
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_command": f"cp %p {archive}/%f",
    }


def _ask(server: Server, query: str) -> Any:
    with psycopg.connect(server.url("postgres"), autocommit=True) as db:
        [(answer,)] = db.execute(query).fetchall()  # type: ignore[call-overload]
    return answer


def _recovered(base: Path, archive: Path, moment: str) -> Server:
    """Start a server with a base backup and the log up to a moment."""
    with (base / "data" / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = 'cp {archive}/%f %p'\n")
        conf.write(f"recovery_target_time = '{moment}'\n")
        conf.write("recovery_target_action = 'promote'\n")
    (base / "data" / "recovery.signal").touch()
    server = Server(folder=base)
    eventually(lambda: not _ask(server, "SELECT pg_is_in_recovery()"))
    return server


def test_a_database_of_a_former_moment_is_gone_on_with(archive: Path) -> None:
    """What came later is gone; what ran then goes on if it is durable, and ends otherwise."""
    with ExitStack() as stack:
        server = Server(_archiving(archive))
        stack.callback(server.remove)
        server.execute("CREATE DATABASE own")
        koco = stack.enter_context(koco_of_its_own())
        koco.up("--store", server.url("own"))
        app = koco.deploy("past", CODE, flows=FLOWS)
        before = app.execute("emit")
        base = server.base_backup()
        waiting, running = app.launch("ask"), app.launch("emit", count=10_000, pause=0.05)
        eventually(lambda: _status(app, waiting) == "awaiting")
        eventually(lambda: _status(app, running) == "running")
        time.sleep(0.5)
        moment = _ask(server, "SELECT CAST(clock_timestamp() AS text)")
        time.sleep(0.5)
        after = app.execute("emit")
        app.run("answer", waiting, "approval", "-i", "ok=true").ok()
        assert app.events(waiting)[-1]["payload"] == {"status": "finished"}
        app.deploy("past", CODE.replace("return count", "return -count"), flows=FLOWS)
        assert app.execute("emit").result == -3
        _archive_all(server)
        koco.run("down").ok()
        server.stop(signal.SIGINT)

        again = _recovered(base, archive, moment)
        stack.callback(again.remove)
        koco.up("--store", again.url("own"))
        assert app.get_events(before.fid) == before.events
        assert app.run("show", after.fid).code == 4
        # The later release is gone. Its number is given again.
        assert app.execute("emit").result == 3
        # The answer is gone, too, so it waits for another one.
        eventually(lambda: _status(app, waiting) == "awaiting")
        app.run("answer", waiting, "approval", "-i", "ok=false").ok()
        assert app.events(waiting)[-1]["payload"] == {"status": "finished"}
        # Its runner is gone.
        ended = app.events(running)
        assert ended[-1]["payload"]["status"] == "error"
        [error] = [each["payload"] for each in ended if each["kind"] == "error"]
        assert error["type"] == "RunnerDied"
        seqs = [each["seq"] for each in ended]
        assert seqs == list(range(1, len(seqs) + 1))


def _status(app: Koco, fid: str) -> str:
    status: str = app.get(f"/v1/executions/{fid}")["status"]
    return status


def _archive_all(server: Server) -> None:
    """Wait until all that was committed up to now is in the archive."""
    last = _ask(server, "SELECT pg_walfile_name(pg_switch_wal())")
    query = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    eventually(lambda: _ask(server, query) >= last)
