"""Limits on real runners: how much at once, how long, how often."""

import concurrent.futures
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.driver import Koco, eventually, kill9

CODE = """
    import asyncio, os, time

    async def gated(path: str):
        while not os.path.exists(path):
            await asyncio.sleep(0.02)

    async def quick(tracer):
        return "quick"

    async def approve(tracer, seconds: float = 0):
        answer = await tracer.lock("ok")
        await asyncio.sleep(seconds)
        return answer

    def stubborn(tracer):
        tracer.result_sync("began")
        while True:
            try:
                time.sleep(30)
            except BaseException:
                pass

    async def fragile(tracer, path: str, times: int = 1):
        with open(path, "a") as file:
            file.write("x")
        await tracer.result(os.getpid())
        with open(path) as file:
            attempt = len(file.read())
        if attempt <= times:
            await asyncio.sleep(60)
        return attempt

    async def failing(tracer, path: str, times: int = 1):
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            attempt = len(file.read())
        async with await tracer.fs() as fs:
            if attempt <= times:
                with open(path + ".txt", "w") as file:
                    file.write("half")
                await fs.upload(path + ".txt")
                raise ValueError(f"attempt {attempt} fails")
            return {"attempt": attempt, "files": [each["path"] for each in await fs.ls("out")]}
"""

LIMITS: dict[str, dict[str, Any]] = {
    "gated": {"running": 3, "queue": 5},
    "quick": {},
    "approve": {"timeout": 2},
    "stubborn": {"timeout": 0.5},
    "fragile": {"retries": 2, "backoff": 0.2},
    "failing": {"retries": 2, "retry_errors": True, "backoff": 0.2},
}


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    flows = [
        {"name": name, "entrypoint": f"limits_app:{name}", "limits": limits}
        for name, limits in LIMITS.items()
    ]
    return koco.deploy("limits", CODE, flows=flows, runner={"min": 1, "max": 4})


def test_fifty_launches_at_once_against_a_queue_of_five(app: Koco) -> None:
    """As many as run and wait are accepted, the others get 429 and code 9; all accepted finish."""
    gate = app.root / "gate"
    with app.http() as client, concurrent.futures.ThreadPoolExecutor(50) as threads:

        def launch(_: int) -> httpx.Response:
            return client.post("/v1/flows/limits/gated", json={"path": str(gate)})

        answers = list(threads.map(launch, range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 8, 429: 42}
    refused = [answer.headers["Retry-After"] for answer in answers if answer.status_code == 429]
    assert all(int(seconds) >= 1 for seconds in refused)
    done = app.run("run", "limits/gated", "-i", f"path={gate}", "--json")
    assert (done.code, done.out) == (9, "")
    assert "limits.queue" in json.loads(done.err)["error"]["message"]
    # Another flow of the release goes past those that wait for their limit.
    assert app.execute("quick").result == "quick"
    fids = [answer.json()["result"] for answer in answers if answer.status_code == 201]
    eventually(lambda: len(_running(app)) == 3)
    waits = [app.get(f"/v1/executions/{fid}")["waits"] for fid in fids]
    assert Counter(waits) == {None: 3, "3 run of at most 3": 5}
    [load] = [each for each in _load(app) if each["flow"] == "gated"]
    assert load == {
        **{"flow": "gated", "running": 3, "waiting": 5, "max_running": 3, "max_queue": 5}
    }
    gate.touch()
    most = 0
    while not all(_ended(app, fid) for fid in fids):
        most = max(most, len(_running(app)))
    assert most <= 3
    assert {app.get(f"/v1/executions/{fid}")["status"] for fid in fids} == {"finished"}


def test_time_that_is_over_ends_an_execution(app: Koco) -> None:
    """With the error `TimedOut`, though the control plane dies, and though it will not end."""
    fid = app.launch("stubborn")
    with _following(app, fid, code=1) as events:
        eventually(lambda: any(e["payload"] == "began" for e in app.get_events(fid)))
        _kill_control(app)
    *_, error, status = events
    assert (error["kind"], error["payload"]["type"]) == ("error", "TimedOut")
    assert status["payload"] == {"status": "error"}
    assert app.get(f"/v1/executions/{fid}")["error"]["type"] == "TimedOut"


def test_waiting_for_a_person_takes_no_time(app: Koco) -> None:
    """An answer after the limit is one; what runs too long after it is ended."""
    fid, late = app.launch("approve"), app.launch("approve", seconds=30)
    for each in (fid, late):
        eventually(lambda each=each: app.get(f"/v1/executions/{each}")["status"] == "awaiting")
    time.sleep(2.5)
    for each in (fid, late):
        app.run("answer", each, "ok", "-i", "fine=true").ok()
    assert eventually(lambda: _ended(app, fid))["status"] == "finished"
    assert eventually(lambda: _ended(app, late))["error"]["type"] == "TimedOut"


def test_what_dies_is_tried_again_in_one_stream(app: Koco) -> None:
    """A follower sees each attempt, and one end; the control plane may die in between, too."""
    path = str(app.root / "fragile")
    fid = app.launch("fragile", path=path, times=2)
    with _following(app, fid, code=0) as events:
        for count in (1, 2):
            pids = eventually(lambda count=count: _results(app, fid, count))
            if count == 2:
                _kill_control(app)
            kill9(pids[-1])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    statuses = [event["payload"] for event in events if event["kind"] == "status"]
    assert [each.get("attempt") for each in statuses if "attempt" in each] == [2, 3]
    assert [s["status"] for s in statuses if s["status"] in ("finished", "error")] == ["finished"]
    assert events[-1]["payload"] == {"status": "finished"}
    assert events[-2]["payload"] == 3
    died = [event["payload"]["type"] for event in events if event["kind"] == "error"]
    assert died == ["RunnerDied", "RunnerDied"]
    assert app.get(f"/v1/executions/{fid}")["attempt"] == 3


def test_errors_are_tried_again_where_asked(app: Koco) -> None:
    """With the traceback of each attempt; files that one made are there for the next."""
    ended = app.execute("failing", path=str(app.root / "failing"))
    assert ended.status == "finished", ended.of("error")
    assert ended.result == {"attempt": 2, "files": ["out/failing.txt"]}
    [error] = ended.of("error")
    assert error["message"] == "attempt 1 fails"
    assert "limits_app.py" in error["traceback"]
    last = app.execute("failing", path=str(app.root / "for-ever"), times=9)
    assert (last.status, len(last.of("error"))) == ("error", 3)
    assert app.get(f"/v1/executions/{last.fid}")["error"]["message"] == "attempt 3 fails"


@contextlib.contextmanager
def _following(app: Koco, fid: str, *, code: int) -> Iterator[list[dict[str, Any]]]:
    """Follow an execution to its end, which the body brings about; fill the list of its events."""
    path = app.root / f"events-{fid}"
    events: list[dict[str, Any]] = []
    with path.open("w") as file:
        follower = app.popen("logs", "-f", fid, "--json", stdout=file)
        eventually(path.read_text)  # it has begun: what dies now, dies under it
        yield events
        _, err = follower.communicate(timeout=60)
    assert follower.returncode == code, err
    events += map(json.loads, path.read_text().splitlines())


def _kill_control(app: Koco) -> None:
    pid = app.control_pid()
    kill9(pid)
    eventually(lambda: app.control_pid() != pid)


def _running(app: Koco) -> list[Any]:
    page = app.get("/v1/executions", flow="limits/gated", status="starting,running")
    items: list[Any] = page["items"]
    return items


def _load(app: Koco) -> list[dict[str, Any]]:
    services = app.get("/v1/status")["services"]
    return [load for service in services for load in service["load"]]


def _ended(app: Koco, fid: str) -> Any:
    execution = app.get(f"/v1/executions/{fid}")
    return execution if execution["finished"] else None


def _results(app: Koco, fid: str, count: int) -> list[int] | None:
    pids = [event["payload"] for event in app.get_events(fid) if event["kind"] == "result"]
    return pids if len(pids) == count else None
