"""kill -9 at the worst moments: nothing that was accepted or acknowledged is lost."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import psutil
import pytest

from koco.bootstrap.local_head import mark_of
from tests.support.driver import Koco, calm_s, eventually, kill9

CODE = """
    import asyncio, os, time

    async def emit(tracer, count: int = 2000, pause: float = 0.001):
        for number in range(count):
            await tracer.result(number)
            await asyncio.sleep(pause)
        return count

    def wait(tracer, seconds: float = 1):
        print("pid", os.getpid())
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
        began = calm_s()
        kill9(pid)
        eventually(lambda old=pid: app.control_pid() != old, within_s=5)
        assert calm_s() - began < 5
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


def test_runners_use_the_socket_of_the_control_plane_that_is_there(app: Koco) -> None:
    """Also of the next one, after theirs was killed."""

    def callers() -> int:
        pid = app.control_pid()
        ends = psutil.Process(pid).net_connections("unix")
        return sum(str(each.laddr).endswith(f"/sockets/koco.{pid}") for each in ends) - 1

    assert app.execute("emit", count=1).of("result") == [0]
    assert callers() >= 1
    restart(app)
    assert app.execute("emit", count=3).of("result") == [0, 1, 2]
    eventually(lambda: callers() >= 1)


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


def test_commands_that_begin_during_a_restart_wait_for_it(app: Koco) -> None:
    """A list, a follower, a launch and a deploy: none of them fails, or says a word of it."""
    fid = app.launch("wait", seconds=0)
    eventually(lambda: _final(app, fid))
    project = app.project("kill", CODE + "\n    LATER = 1\n", runner={"min": 1, "max": 4})
    kill9(app.control_pid())
    running = {
        "ps": app.popen("ps", "-a", "--json"),
        "logs": app.popen("logs", fid, "-f"),
        "run": app.popen("run", "kill/wait", "-i", "seconds=0", "--wait"),
        "deploy": app.popen("deploy", cwd=project),
    }
    for name, process in running.items():
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, f"{name}: {err}"
        assert "answer" not in err, f"{name}: {err}"


def test_a_frozen_runner_delays_no_restart(app: Koco) -> None:
    """Others are served beside it, and what it runs goes on where it stopped."""
    fid = app.launch("wait", seconds=1)
    pid = runner_pid(app, fid)
    with stopped(pid):
        restart(app)
        assert app.execute("emit", count=3).of("result") == [0, 1, 2]
        assert app.get(f"/v1/executions/{fid}")["status"] == "running"
    ended = eventually(lambda: _final(app, fid))
    assert ended["status"] == "finished", ended


def test_what_was_on_its_way_to_a_frozen_runner_begins_once(app: Koco) -> None:
    """Both the runner and the control plane stop to answer between a launch and its beginning."""
    app = app.deploy("kill-one", CODE, runner={"min": 1, "max": 1})
    warm = app.execute("wait", seconds=0)
    assert warm.status == "finished"
    with stopped(runner_pid(app, warm.fid)):
        fid = app.launch("wait", seconds=0)
        eventually(lambda: app.get(f"/v1/executions/{fid}")["status"] == "starting")
        time.sleep(0.5)  # the call is in the runner's socket by then
        restart(app)
        assert app.get(f"/v1/executions/{fid}")["status"] == "starting"
    ended = eventually(lambda: _final(app, fid))
    assert ended["status"] == "finished", ended
    assert [e["payload"] for e in app.get_events(fid) if e["kind"] == "result"] == ["began"]
    assert runner_pid(app, fid) == runner_pid(app, warm.fid)


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


def restart(app: Koco) -> None:
    """Kill the control plane, and wait until the next one answers."""
    old = app.control_pid()
    kill9(old)
    eventually(lambda: app.control_pid() != old)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def runner_pid(app: Koco, fid: str) -> int:
    """Return the process that a flow of `CODE` has told that it runs in."""

    def told() -> int | None:
        texts = [str(e["payload"]) for e in app.get_events(fid) if e["kind"] == "stdout"]
        return next((int(text[4:]) for text in texts if text.startswith("pid ")), None)

    pid: int = eventually(told)
    return pid


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
