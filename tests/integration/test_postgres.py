"""A control plane whose store is in PostgreSQL, and that dies, as PostgreSQL does."""

import json
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support import postgres
from tests.support.driver import Koco, eventually, kill9, koco_of_its_own

#: Its own Ray starts in the first test's time.
pytestmark = pytest.mark.timeout(400)

CODE = """
    import asyncio

    async def emit(tracer, count: int = 2000, pause: float = 0.001):
        for number in range(count):
            await tracer.result(number)
            await asyncio.sleep(pause)
        return count

    async def ask(tracer, name: str = "you"):
        answer = await tracer.lock("approval", {"name": name})
        return f"{name}: {answer}"
"""
FLOWS = [
    {"name": "emit", "entrypoint": "pg_app:emit"},
    {"name": "ask", "entrypoint": "pg_app:ask", "durable": True},
]


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    server = postgres.Server()
    server.execute("CREATE DATABASE own")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def app(server: postgres.Server) -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        koco.up("--store", server.url("own"))
        yield koco.deploy("pg", CODE, runner={"min": 1, "max": 4}, flows=FLOWS)


def test_nothing_is_lost_if_either_of_them_is_killed(app: Koco, server: postgres.Server) -> None:
    """Each event arrives once, and each launch that was accepted ends."""
    fid = app.launch("emit", count=2000, pause=0.003)
    follower = app.popen("logs", fid, "-f", "--json")
    fids: list[str] = []
    for number in range(4):
        time.sleep(0.5)
        if number % 2:
            pid = app.control_pid()
            kill9(pid)
            eventually(lambda old=pid: app.control_pid() != old)
        else:
            server.stop(signal.SIGQUIT if number else signal.SIGINT)
            server.start()
        for _ in range(5):
            try:
                fids.append(app.launch("emit", count=1))
            except (httpx.HTTPError, AssertionError):
                continue  # not accepted: nothing was promised
    out, err = follower.communicate(timeout=100)
    assert follower.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    results = [event["payload"] for event in events if event["kind"] == "result"]
    assert results == list(range(2000))
    assert len(fids) >= 10
    for each in fids:
        assert app.events(each)[-1]["payload"] == {"status": "finished"}


def test_answers_wake_what_waits_for_a_person(app: Koco) -> None:
    """Also an execution that has been parked, and after a restart of the control plane."""
    fid = app.launch("ask", name="ada")
    eventually(lambda: app.get("/v1/locks")["items"])
    kill9(app.control_pid())
    eventually(lambda: app.get("/v1/locks")["items"])
    app.run("answer", fid, "approval", "-i", "ok=true").ok()
    assert app.events(fid)[-1]["payload"] == {"status": "finished"}
    found = eventually(lambda: app.get("/v1/executions", search="ADA")["items"])
    assert [each["fid"] for each in found] == [fid]


def test_the_store_stays_where_it_is(app: Koco, server: postgres.Server) -> None:
    """`koco up` finds it without the option, and does not move it. No file is in its place."""
    assert app.run("up").ok().err
    url = server.url("own")
    assert app.get("/v1/status")["store"]["path"] == url
    assert url in app.run("doctor").out
    assert not list(app.home.rglob("store.db*"))
    other = app.run("up", "--store", server.url("postgres"))
    assert other.code != 0
    assert url in other.err
    assert "koco down" in other.err
    assert app.get("/v1/status")["store"]["path"] == url
    refused = app.run("up", "--store", "postgresql://koco:secret@127.0.0.1/koco")
    assert refused.code == 2
    assert "secret" not in refused.err
