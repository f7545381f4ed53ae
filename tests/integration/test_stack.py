"""`koco stack` says where an execution is, whatever its code does there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.driver import Koco, calm_s, eventually

CODE = '''
    import asyncio, os, re, threading, time

    import ray

    LOCK = threading.Lock()

    def _hangs():
        LOCK.acquire()
        LOCK.acquire()

    def deadlock():
        _hangs()

    async def _inner():
        await asyncio.sleep(60)

    async def waits(tracer):
        await tracer.result(os.getpid())
        await asyncio.gather(_inner(), asyncio.create_task(_inner(), name="second"))

    def keeps():
        """Keeps the interpreter's lock, as a regular expression does that backtracks."""
        re.match("(a+)+$", "a" * 28 + "b")

    def task():
        @ray.remote(num_cpus=0)
        def stuck():
            threading.Event().wait()

        ray.get(stuck.remote())

    async def asks(tracer):
        await tracer.lock("approval")
'''


@pytest.fixture(scope="module")
def another_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have what Ray takes for another cluster on this machine, by its processes."""
    raylet = tmp_path_factory.mktemp("ray") / "raylet"
    raylet.symlink_to(sys.executable)
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen(
        [raylet, "-c", code, "--gcs-address=127.0.0.1:1"], stdin=subprocess.PIPE
    ) as process:
        yield
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def app(koco: Koco, another_ray: None) -> Iterator[Koco]:
    yield koco.deploy("stack", CODE, runner={"max": 2})


def stack(app: Koco, fid: str, *options: str) -> dict[str, Any]:
    return app.run("stack", fid, "--json", *options).ok().json()


def functions(found: dict[str, Any], process: int = 0) -> list[str]:
    stacks = found["processes"][process]["stacks"]
    return [frame["function"] for each in stacks for frame in each["frames"]]


def cancelled(app: Koco, fid: str) -> None:
    app.run("cancel", fid, "--grace", "0", "--wait").ok()


def test_a_thread_that_waits_for_a_lock_for_ever_shows_the_line(app: Koco) -> None:
    """The author's frames only, as files of the bundle, the newest last."""
    fid = app.launch("deadlock")
    found = eventually(lambda: (s := stack(app, fid))["processes"] and functions(s) and s)
    assert functions(found) == ["deadlock", "_hangs"]
    [place] = [each["frames"][-1] for each in found["processes"][0]["stacks"]]
    assert place == {"file": "stack_app.py", "line": 10, "function": "_hangs"}
    text = app.run("stack", fid).ok().out
    assert "    stack_app.py:10 in _hangs" in text
    assert "koco-flows" in app.run("stack", fid, "--all").ok().out
    cancelled(app, fid)
    ended = app.run("stack", fid)
    assert (ended.code, "has ended: cancelled" in ended.err) == (2, True)


def test_coroutines_show_what_they_await(app: Koco) -> None:
    """And the tasks that they wait for, by name."""
    fid = app.launch("waits")
    eventually(lambda: [e for e in app.get_events(fid) if e["kind"] == "result"])
    stacks = stack(app, fid)["processes"][0]["stacks"]
    assert stacks[0]["frames"][-1]["function"] == "waits"
    assert [each["frames"][0]["function"] for each in stacks[1:]] == ["_inner", "_inner"]
    assert "second, which it waits for" in [each["name"] for each in stacks]
    cancelled(app, fid)


def test_code_that_keeps_the_interpreter_is_shown_from_outside(app: Koco) -> None:
    """And goes on: it finishes as if nobody had looked."""
    fid = app.launch("keeps")
    eventually(lambda: app.get(f"/v1/executions/{fid}")["status"] == "running")
    time.sleep(0.5)  # from then on nothing else of that process runs
    found = stack(app, fid)
    assert "holds the interpreter" in found["processes"][0]["note"]
    assert "keeps" in functions(found)
    assert app.events(fid)[-1]["payload"]["status"] == "finished"


def test_ray_tasks_are_shown_too(app: Koco) -> None:
    """Each is a process of its own. Another Ray on this machine is not asked for them."""
    fid = app.launch("task")
    found = eventually(lambda: len((s := stack(app, fid))["processes"]) > 1 and s)
    assert found["processes"][1]["name"] == "Ray task stuck"
    assert "task.<locals>.stuck" in functions(found, 1) or "stuck" in functions(found, 1)
    cancelled(app, fid)


def test_a_stopped_process_is_said_to_be_stopped(app: Koco) -> None:
    """Nothing can be asked of it, nor does it write anything."""
    fid = app.launch("waits")
    [pid] = eventually(lambda: [e["payload"] for e in app.get_events(fid) if e["kind"] == "result"])
    os.kill(pid, signal.SIGSTOP)
    try:
        began = calm_s()
        [process] = stack(app, fid)["processes"]
        assert calm_s() - began < 10
        assert process["state"] == "stopped"
        assert "kill -CONT" in process["note"]
    finally:
        os.kill(pid, signal.SIGCONT)
    cancelled(app, fid)


def test_who_awaits_a_person_or_is_queued_is_told(app: Koco) -> None:
    """The one is where it asks; the other has no process, and it is said what it waits for."""
    fids = [app.launch("asks") for _ in range(3)]
    eventually(lambda: app.get(f"/v1/executions/{fids[1]}")["status"] == "awaiting")
    assert "asks" in functions(stack(app, fids[0]))
    queued = stack(app, fids[2])
    assert queued["processes"] == []
    assert "it has no process: 2 runners are busy" in queued["note"]
    for fid in fids:
        cancelled(app, fid)
    assert app.run("stack", "nothere").code == 4
