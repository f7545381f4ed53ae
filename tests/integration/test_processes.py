"""A control plane with several processes over one PostgreSQL: each answers, one leads, and dies."""

import contextlib
import copy
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.support import postgres
from tests.support.driver import Koco, eventually, kill9, koco_of_its_own
from tests.support.long import IS_LONG

#: Its own Ray starts in the first test's time.
pytestmark = pytest.mark.timeout(400)

CODE = """
    import asyncio

    async def emit(tracer, count: int = 100, pause: float = 0.01):
        for number in range(count):
            await tracer.result(number)
            await asyncio.sleep(pause)
        return count

    async def ask(tracer, name: str = "you"):
        answer = await tracer.lock("approval", {"name": name})
        return f"{name}: {answer}"

    async def steps(tracer, count: int = 100):
        return [await tracer.step(f"s{number}", str, number) for number in range(count)]
"""
FLOWS = [
    {"name": "emit", "entrypoint": "several_app:emit"},
    {"name": "ask", "entrypoint": "several_app:ask", "durable": True},
    {"name": "steps", "entrypoint": "several_app:steps", "durable": True},
]
#: How long another process may take to lead (seconds): what was measured is far below. The lease is
#: three seconds, and a slow machine must not fail the test.
_FAILOVER_S = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    server = postgres.Server()
    server.execute("CREATE DATABASE several")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def app(server: postgres.Server) -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        refused = koco.run("up", "--free-ports", "--api", "3")
        assert refused.code == 2
        assert "--store" in refused.err
        koco.up("--store", server.url("several"), "--api", "3")
        runner = {"min": 1, "max": 2, "concurrency": 50}
        yield koco.deploy("several", CODE, runner=runner, flows=FLOWS)


def at(app: Koco, url: str) -> Koco:
    """The same koco, asked at another process."""
    mine = copy.copy(app)
    mine.http = lambda **more: app.http(**{"base_url": url, **more})  # type: ignore[method-assign]
    return mine


_known: list[str] = []


def processes(app: Koco) -> list[dict[str, Any]]:
    """The processes that run now, three, of which one leads. Any of them may answer."""

    def look() -> list[dict[str, Any]]:
        for url in [*_known, app.context["url"]]:
            with contextlib.suppress(httpx.HTTPError, AssertionError):
                found: list[dict[str, Any]] = at(app, url).get("/v1/status")["processes"]
                assert [each["leads"] for each in found].count(True) == 1
                assert len(found) == 3
                assert all(each["url"] for each in found)  # one that starts has none yet
                _known[:] = [each["url"] for each in found]
                return found
        return []

    found: list[dict[str, Any]] = eventually(look, within_s=60)
    return found


def leader(app: Koco) -> dict[str, Any]:
    return next(each for each in processes(app) if each["leads"])


def others(app: Koco) -> list[str]:
    """The URLs of those that do not lead."""
    return [each["url"] for each in processes(app) if not each["leads"]]


def test_every_process_launches_follows_and_passes_on(app: Koco) -> None:
    """What one has committed runs at once, and is seen at all others."""
    urls = [each["url"] for each in processes(app)]
    for number, url in enumerate(urls):
        fid = at(app, url).launch("emit", count=20)
        seen = at(app, urls[(number + 1) % 3]).events(fid)
        _are_whole(seen, results=20)
    # An answer to a lock and a new key, at a process that does not lead.
    there = at(app, others(app)[0])
    fid = there.launch("ask", name="ada")
    [lock] = eventually(lambda: there.get("/v1/locks")["items"])
    assert lock["fid"] == fid
    with there.http() as http:
        answered = http.post(f"/v1/executions/{fid}/locks/approval", json={"ok": True})
        assert answered.status_code == 200, answered.text
        made = http.post("/v1/keys", json={"name": "eve", "scopes": ["read"]})
        assert made.status_code == 201, made.text
        headers = {"Authorization": f"Bearer {made.json()['secret']}"}
        shown = [
            httpx.get(f"{url}/v1/executions", headers=headers, trust_env=False) for url in urls
        ]
        assert [each.status_code for each in shown] == [200, 200, 200]
        http.delete("/v1/keys/eve").raise_for_status()
        shown = [
            httpx.get(f"{url}/v1/executions", headers=headers, trust_env=False) for url in urls
        ]
        assert [each.status_code for each in shown] == [401, 401, 401]
    _are_whole(there.events(fid))


def test_another_process_leads_if_the_leader_dies(app: Koco) -> None:
    """Executions go on in their runners, and nothing that was accepted is lost."""
    former = leader(app)
    one, two = (at(app, url) for url in others(app))
    running, durable = one.launch("emit", count=300), two.launch("steps", count=300)
    time.sleep(0.5)
    kill9(former["pid"])
    began = time.monotonic()
    fid = one.launch("emit", count=1)  # accepted without a leader
    _are_whole(two.events(fid), results=1)
    took_s = time.monotonic() - began
    print(f"an execution had ended {took_s:.2f} s after the leader was killed")
    assert took_s < _FAILOVER_S
    _are_whole(one.events(running), results=300)
    _are_whole(two.events(durable))
    eventually(lambda: former["pid"] not in {each["pid"] for each in processes(app)})
    assert leader(app)["pid"] != former["pid"]


def test_another_process_leads_at_once_if_the_leader_is_terminated(
    app: Koco, server: postgres.Server
) -> None:
    """Launches are accepted all the while, and none is lost."""
    for _ in range(2):  # not the same one twice
        former, epoch = leader(app), _epoch(server)
        one, two = (at(app, url) for url in others(app))
        fids: list[str] = []
        led_s = longest_s = 0.0
        began = time.monotonic()
        os.kill(former["pid"], signal.SIGTERM)
        while not led_s or len(fids) < 20:
            asked = time.monotonic()
            fids.append((one, two)[len(fids) % 2].launch("emit", count=1))
            longest_s = max(longest_s, time.monotonic() - asked)
            if not led_s and _epoch(server) > epoch:
                led_s = time.monotonic() - began
            assert time.monotonic() - began < _FAILOVER_S
        print(
            f"another process led {led_s:.2f} s after {former['name']} was terminated; of"
            f" {len(fids)} launches meanwhile, none took longer than {longest_s:.2f} s"
        )
        for fid in fids:
            _are_whole(one.events(fid), results=1)
        assert not _exists(former["pid"])


def test_a_leader_that_was_stopped_writes_nothing_afterwards(
    app: Koco, server: postgres.Server
) -> None:
    """Its lease passes on meanwhile, and it ends when it finds out."""
    former, there = leader(app), at(app, others(app)[0])
    fids = [there.launch("emit", count=200) for _ in range(5)]
    epoch = _epoch(server)
    os.kill(former["pid"], signal.SIGSTOP)
    began = time.monotonic()
    try:
        eventually(lambda: _epoch(server) > epoch, within_s=30)
        took_s = time.monotonic() - began
        fids.append(there.launch("emit", count=1))
        _are_whole(there.events(fids[-1]), results=1)
        time.sleep(60 if IS_LONG else 3)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the next leader may have ended it
            os.kill(former["pid"], signal.SIGCONT)
    print(f"another process led {took_s:.2f} s after the leader was stopped")
    assert took_s < _FAILOVER_S
    eventually(lambda: not _exists(former["pid"]), within_s=30)
    for fid in fids[:-1]:
        _are_whole(there.events(fid), results=200)
    assert _epoch(server) == epoch + 1


def test_further_processes_run_where_a_resource_is(app: Koco) -> None:
    """One on each such node; those without one wait for it, and it is said what to do."""
    said = app.run("up", "--api", "3", "--api-on", "koco-api").ok()
    assert "waits for a node with koco-api (2 needed, 0 there)" in said.err
    status = app.get("/v1/status")
    assert [each["name"].count(":") for each in status["processes"]] == [1]
    waiting = [each["name"] for each in status["missing"]]
    assert len(waiting) == 2 and "0 there" in status["missing"][0]["why"]
    with app.another_node() as plain, app.another_node(resources={"koco-api": 1}) as first:
        eventually(lambda: len(app.get("/v1/status")["processes"]) == 2, within_s=60)
        [left] = app.get("/v1/status")["missing"]
        assert "1 there" in left["why"]
        assert "is missing" in app.run("status").out
        assert f"{left['name']} is missing" in app.run("doctor").out
        with app.another_node(resources={"koco-api": 1}) as second:
            eventually(lambda: len(app.get("/v1/status")["processes"]) == 3, within_s=60)
            found = app.get("/v1/status")
            assert found["missing"] == []
            pids = {each["pid"] for each in found["processes"] if each["name"] in waiting}
            assert {_node_of(pid, (plain, first, second)) for pid in pids} == {first, second}
    eventually(lambda: len(app.get("/v1/status")["missing"]) == 2, within_s=60)
    said = app.run("up", "--api", "3", "--api-on", "").ok()
    assert " is at http://127.0.0.1:" in said.err
    assert len(eventually(lambda: app.get("/v1/status")["processes"])) == 3


def _node_of(pid: int, nodes: Sequence[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The node whose process this is."""
    above = {each.pid for each in psutil.Process(pid).parents()}
    [found] = [each for each in nodes if each.pid in above]
    return found


def test_a_change_of_their_number_is_an_upgrade(app: Koco) -> None:
    """Executions go on meanwhile."""
    fid = app.launch("emit", count=300)
    app.up("--api", "1")
    assert not app.get("/v1/status").get("processes")
    _are_whole(app.events(fid), results=300)
    app.up("--api", "2")
    assert len(eventually(lambda: app.get("/v1/status")["processes"])) == 2


def _status(url: str, headers: dict[str, str]) -> int:
    return httpx.get(f"{url}/v1/executions", headers=headers, trust_env=False).status_code


def _are_whole(seen: list[dict[str, Any]], *, results: int | None = None) -> None:
    """Check that an execution's events are all there, in order, and end as they should."""
    assert [each["seq"] for each in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["payload"] == {"status": "finished"}
    if results is not None:
        found = [each["payload"] for each in seen if each["kind"] == "result"]
        assert found == list(range(results))


def _epoch(server: postgres.Server) -> int:
    with psycopg.connect(server.url("several")) as db:
        [(epoch,)] = db.execute("SELECT epoch FROM koco.leader").fetchall()
        return int(epoch)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
