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


def test_a_control_plane_that_starts_without_its_store_waits_for_it(
    app: Koco, server: postgres.Server
) -> None:
    """It says so meanwhile, goes on by itself, and no event is lost."""
    fid = app.launch("emit", count=300, pause=0.01)
    eventually(lambda: len(app.get_events(fid)) > 20)
    pid = app.control_pid()
    server.stop(signal.SIGINT)
    kill9(pid)
    refused = eventually(lambda: (done := app.run("status")).code == 1 and done)
    assert "its store does not answer" in refused.err
    assert str(server.port) not in refused.err
    began = time.monotonic()
    up = app.run("up")
    assert time.monotonic() - began < 20
    assert up.code == 1
    assert "Connection refused" in up.err
    assert f"127.0.0.1:{server.port}" in up.err
    server.start()
    eventually(lambda: app.run("status").code == 0)
    assert app.events(fid)[-1]["payload"] == {"status": "finished"}
    results = [each["payload"] for each in app.events(fid) if each["kind"] == "result"]
    assert results == list(range(300))


def test_nothing_starts_for_a_store_that_is_away(server: postgres.Server) -> None:
    """`koco up` fails at once, and says why."""
    with koco_of_its_own() as koco:
        began = time.monotonic()
        done = koco.run("up", "--free-ports", "--store", server.url("own", port=1))
        assert time.monotonic() - began < 20
        assert done.code == 1
        assert "the store could not be opened" in done.err
        assert "Connection refused" in done.err
        assert "hint: check that the server runs" in done.err
        assert "nothing to stop" in koco.run("down").ok().err


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
