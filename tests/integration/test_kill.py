"""kill -9 at the worst moments: nothing that was accepted or acknowledged is lost."""

import time
from collections import Counter

import httpx
import pytest

from koco.cluster.local import mark_of
from tests.driver import Koco, eventually, kill9

CODE = """
    import asyncio, time

    async def emit(tracer, count: int = 2000, pause: float = 0.001):
        for number in range(count):
            await tracer.result(number)
            await asyncio.sleep(pause)
        return count

    def wait(tracer, seconds: float = 1):
        tracer.result_sync("began")
        time.sleep(seconds)
        return "done"
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy("kill", CODE, runner={"min": 1, "max": 4})


def test_a_follower_gets_all_events_while_the_control_plane_is_killed(app: Koco) -> None:
    """2,000 events of one flow, the control plane killed twice in between: each arrives once."""
    fid = app.launch("emit", count=2000, pause=0.002)
    follower = app.popen("logs", fid, "-f", "--json")
    for _ in range(2):
        time.sleep(0.8)
        pid = app.control_pid()
        began = time.monotonic()
        kill9(pid)
        eventually(lambda old=pid: app.control_pid() != old, within_s=5)
        assert time.monotonic() - began < 5
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 0, err
    import json

    events = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    results = [event["payload"] for event in events if event["kind"] == "result"]
    assert results == list(range(2000))
    assert events[-1]["payload"] == {"status": "finished"}


def test_accepted_launches_survive_the_control_plane(app: Koco) -> None:
    """Every fid that was returned ends `finished`, though the control plane dies among them."""
    fids: list[str] = []
    with app.http() as client:
        for number in range(40):
            if number == 20:
                kill9(app.control_pid())
            try:
                answer = client.post("/v1/flows/kill/wait", json={"seconds": 0.01})
            except httpx.HTTPError:
                continue  # not accepted: nothing was promised
            fids.append(answer.json()["result"])
    assert len(fids) >= 20
    for fid in fids:
        ended = eventually(lambda fid=fid: _final(app, fid))
        assert ended["status"] == "finished", ended


def test_an_execution_outlives_the_control_plane(app: Koco) -> None:
    """A flow that runs meanwhile notices nothing, and its runner is the same afterwards."""
    fid = app.launch("wait", seconds=3)
    eventually(lambda: any(e["payload"] == "began" for e in app.get_events(fid)))
    kill9(app.control_pid())
    ended = eventually(lambda: _final(app, fid))
    assert ended["status"] == "finished"


def test_a_runner_killed_while_the_control_plane_is_away_is_settled(app: Koco) -> None:
    """Both die at once: the restarted control plane ends the execution with the cause."""
    code = """
        import os, time
        def pid(tracer):
            tracer.result_sync(os.getpid())
            time.sleep(60)
    """
    app.deploy("kill-both", code)
    fid = app.launch("kill-both/pid")
    pid = eventually(
        lambda: next((e["payload"] for e in app.get_events(fid) if e["kind"] == "result"), None)
    )
    kill9(app.control_pid())
    kill9(pid)
    ended = eventually(lambda: _final(app, fid))
    assert ended["status"] == "error"
    assert ended["error"]["type"] == "RunnerDied"


def test_restarts_leave_no_runners_behind(app: Koco) -> None:
    """After all that, there are as many runner processes as the status says."""
    assert app.get("/v1/status")["control_plane"]["restarts"] >= 3
    last: list[Counter[tuple[str, int]]] = []

    def agree() -> bool:
        services = app.get("/v1/status")["services"]
        known = {(each["name"], each["release"]): each["runners"] for each in services}
        last[:] = [+Counter(known), _runner_processes(app)]
        return last[0] == last[1]

    try:
        eventually(agree, within_s=20)
    except AssertionError:
        known, running = last
        message = f"too many: {running - known}, too few: {known - running}"
        raise AssertionError(message) from None


def _final(app: Koco, fid: str) -> dict[str, object] | None:
    execution: dict[str, object] = app.get(f"/v1/executions/{fid}")
    return execution if execution["finished"] else None


def _runner_processes(app: Koco) -> Counter[tuple[str, int]]:
    """Count the processes of this cluster that Ray has titled as runners, by their release."""
    import psutil

    mark = mark_of(app.home)
    count: Counter[tuple[str, int]] = Counter()
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get("KOCO_CLUSTER") == mark and process.cmdline()[0].startswith("ray::Runner"):
                count[env["KOCO_SERVICE"], int(env["KOCO_RELEASE"])] += 1
        except (psutil.Error, IndexError):
            continue
    return count
