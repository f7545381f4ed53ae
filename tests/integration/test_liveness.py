"""Runners that live but no longer work: noticed, ended for certain, and replaced."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Ended, Koco, calm_s, eventually, kill9

CODE = """
    import asyncio, ctypes, os, signal, subprocess, sys, threading, time

    import ray

    def quick():
        return os.getpid()

    def signalled(number: int):
        os.kill(os.getpid(), number)
        time.sleep(60)

    def stopped(tracer):
        tracer.result_sync(os.getpid())
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGSTOP)

    def keeps_the_interpreter(tracer, seconds: int):
        tracer.result_sync("began")
        time.sleep(1)
        ctypes.PyDLL(None).sleep(seconds)
        return "done"

    def shuts_ray_down():
        ray.shutdown()
        time.sleep(60)

    def leaves_its_actor():
        ray.actor.exit_actor()

    def becomes_another():
        os.execv("/bin/sleep", ["sleep", "87654"])

    def closes_everything():
        os.closerange(3, 1000)
        time.sleep(60)

    async def cancels_everything():
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(60)

    def leaves_a_thread():
        threading.Thread(target=time.sleep, args=(300,), daemon=False).start()
        return os.getpid()

    def begins(tracer):
        tracer.result_sync(os.getpid())
        time.sleep(300)
"""

SHARED = """
    import asyncio, ctypes, os, signal

    async def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    async def nap(tracer, seconds: float = 1.0):
        await tracer.result("began")
        await asyncio.sleep(seconds)
        return os.getpid()

    async def stops_its_loop():
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "went on"
"""


CRASHES = """
    import os, pathlib

    from koco.runner.executor import Executor

    usual = Executor._launch

    async def _launch(self, launch):
        # It starts and answers, and dies before an execution begins.
        if pathlib.Path({flag!r}).exists():
            os._exit(7)
        await usual(self, launch)

    Executor._launch = _launch

    def quick():
        return os.getpid()
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    koco.deploy("lively-shared", SHARED, runner={"min": 1, "max": 1, "concurrency": 10})
    return koco.deploy("lively", CODE, runner={"min": 1, "max": 1})


def ends(app: Koco, fid: str, *, within_s: float) -> Ended:
    """Follow an execution that has to end soon."""
    eventually(lambda: app.get(f"/v1/executions/{fid}")["finished"], within_s=within_s)
    return Ended(fid, app.get_events(fid))


def is_there(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def first_result(app: Koco, fid: str) -> Any:
    return eventually(lambda: [e["payload"] for e in app.get_events(fid) if e["kind"] == "result"])[
        0
    ]


@pytest.mark.parametrize(
    ("flow", "inputs"),
    [
        ("signalled", {"number": signal.SIGTERM}),
        ("stopped", {}),
        ("shuts-ray-down", {}),
        ("leaves-its-actor", {}),
        ("becomes-another", {}),
        ("closes-everything", {}),
        ("cancels-everything", {}),
    ],
)
def test_a_runner_that_no_longer_works_is_replaced(
    app: Koco, flow: str, inputs: dict[str, Any]
) -> None:
    """Its execution ends with a cause, its process is gone, the next execution runs."""
    before = app.execute("quick").result
    ended = ends(app, app.launch(flow, **inputs), within_s=15)
    assert ended.status == "error"
    after = ends(app, app.launch("quick"), within_s=30)
    assert after.status == "finished"
    if after.result != before:
        eventually(lambda: not is_there(before), within_s=5)
        assert ended.error["type"] in ("RunnerDied", "AsyncioActorExit")


def test_a_stopped_runner_swallows_nothing(app: Koco) -> None:
    """One that was stopped while it was idle is given an execution: another one runs it."""
    pid = app.execute("quick").result
    os.kill(pid, signal.SIGSTOP)
    ended = ends(app, app.launch("quick"), within_s=30)
    assert ended.status == "finished"
    assert ended.result != pid
    assert not is_there(pid)


def test_neighbours_of_a_stopped_flow_are_told(app: Koco) -> None:
    """They end with the cause, for they shared its process; what comes next runs."""
    napping = app.launch("lively-shared/nap", seconds=300)
    first_result(app, napping)
    stopped = app.launch("lively-shared/stop")
    assert "stopped" in ends(app, napping, within_s=15).error["message"]
    assert ends(app, stopped, within_s=15).error["type"] == "RunnerDied"
    assert ends(app, app.launch("lively-shared/nap", seconds=0), within_s=15).status == "finished"


def test_a_loop_that_a_flow_stops_goes_on(app: Koco) -> None:
    """The other flows of its process run on it, too."""
    napping = app.launch("lively-shared/nap", seconds=2)
    first_result(app, napping)
    assert ends(app, app.launch("lively-shared/stops-its-loop"), within_s=20).result == "went on"
    assert ends(app, napping, within_s=20).status == "finished"


def test_code_that_keeps_the_interpreter_is_busy(app: Koco) -> None:
    """C code that never lets go is left alone, though its runner does not answer; all say so."""
    fid = app.launch("keeps-the-interpreter", seconds=14)
    first_result(app, fid)

    def said() -> str:
        return str(app.get(f"/v1/executions/{fid}")["waits"] or "")

    eventually(lambda: "held the interpreter for" in said(), within_s=14)
    assert "interpreter" in app.run("show", fid).ok().out
    doctor = app.run("doctor")
    assert "interpreter" in doctor.out + doctor.err
    assert ends(app, fid, within_s=30).result == "done"
    assert ends(app, app.launch("quick"), within_s=20).status == "finished"


@pytest.mark.parametrize("flow", ["stopped", "begins"])
def test_a_cancellation_ends_in_time(app: Koco, flow: str) -> None:
    """`cancel --wait` returns within the grace and two seconds, whatever the runner answers."""
    fid = app.launch(flow)
    pid = first_result(app, fid)
    if flow == "begins":
        os.kill(pid, signal.SIGSTOP)
    else:
        time.sleep(1)
    began = calm_s()
    done = app.run("cancel", fid, "--grace", "1", "--wait")
    assert calm_s() - began < 3 + 5, "the rest is for the command line itself"
    assert done.code == 0, done.err
    assert app.get_events(fid)[-1]["payload"] == {"status": "cancelled"}
    eventually(lambda: not is_there(pid), within_s=2)
    assert ends(app, app.launch("quick"), within_s=10).status == "finished"


def test_a_restart_amid_it_changes_nothing(app: Koco) -> None:
    """A runner is stopped while the control plane is away: what it ran ends, what comes runs."""
    fid = app.launch("begins")
    pid = first_result(app, fid)
    kill9(app.control_pid())
    os.kill(pid, signal.SIGSTOP)
    assert ends(app, fid, within_s=30).error["type"] == "RunnerDied"
    assert not is_there(pid)
    assert ends(app, app.launch("quick"), within_s=30).status == "finished"


def test_a_runner_that_was_told_to_leave_is_gone(app: Koco) -> None:
    """A thread that is no daemon keeps its process, also across a restart; not for long."""
    pid = app.execute("leaves-a-thread").result
    app.run("deploy", cwd=app.project("lively", CODE + "\n", runner={"min": 1, "max": 1})).ok()
    other = app.execute("leaves-a-thread").result
    assert other != pid
    app.run("undeploy", "lively", "--yes").ok()
    eventually(lambda: not is_there(pid), within_s=30)
    kill9(app.control_pid())
    eventually(lambda: not is_there(other), within_s=30)


def test_a_crash_loop_ends_with_its_cause(koco: Koco, tmp_path: Path) -> None:
    """Starts come less and less often; an execution ends after a few; no stream grows."""
    flag = tmp_path / "flag"
    code = CRASHES.format(flag=str(flag))
    app = koco.deploy("crashy", code, runner={"min": 1, "max": 1})
    assert app.execute("quick").status == "finished"
    flag.touch()
    fid = app.launch("quick")
    ended = ends(app, fid, within_s=60)
    assert ended.error["type"] == "RunnerDied"
    assert "3 runners" in ended.error["message"]
    assert len(ended.events) < 15
    assert "crashy" in app.run("doctor").out
    flag.unlink()
    app.run("undeploy", "crashy", "--yes").ok()
