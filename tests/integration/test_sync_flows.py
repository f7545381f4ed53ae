"""Plain functions side by side in one process, and generators: they have all that others have."""

import itertools
from typing import Any

import pytest

from tests.support.driver import Koco, calm_s, eventually

CODE = """
    import asyncio, contextvars, logging, os, subprocess, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor

    _local = threading.local()
    _mine = contextvars.ContextVar("mine", default=None)
    _pool = ThreadPoolExecutor(4)

    def crowd(tracer, me: int):
        was_clean = not hasattr(_local, "me") and _mine.get() is None
        _local.me = me; _mine.set(me)
        def work(where):
            for number in range(5):
                print(me, where, number); tracer.debug_sync(me, where, number)
        thread = threading.Thread(target=work, args=("thread",)); thread.start()
        for number in range(5):
            print(me, "flow", number); print(me, number, file=sys.stderr)
            logging.getLogger("x").warning("%s logged", me)
            time.sleep(0.05)
        list(_pool.map(work, ["pool"]))
        subprocess.run(["sh", "-c", f"echo {me} child; echo {me} child >&2"], check=True)
        os.system(f"echo {me} system")
        if not (pid := os.fork()):
            print(me, "fork"); sys.stdout.flush(); os._exit(0)
        os.waitpid(pid, 0)
        thread.join()
        assert (_local.me, _mine.get()) == (me, me)
        return [os.getpid(), threading.current_thread().name, was_clean]

    def napper(tracer, seconds: float = 1.5):
        tracer.result_sync("began")
        for number in range(round(seconds * 100)):
            tracer.debug_sync(number); print(number); time.sleep(0.01)
        return os.getpid()

    def asks(tracer):
        try:
            return tracer.lock_sync("approval", {"n": 1})
        finally:
            tracer.result_sync("tidied up")

    def files(tracer):
        with open(f"/tmp/koco-{tracer.fid}", "w") as file: file.write("made")
        with tracer.fs_sync() as fs: fs.upload(f"/tmp/koco-{tracer.fid}")
        os.remove(f"/tmp/koco-{tracer.fid}")

    def polite(tracer):
        tracer.result_sync("began")
        try:
            while True: time.sleep(0.01)
        finally:
            tracer.result_sync("tidied up")

    def busy(tracer):
        tracer.result_sync("began")
        while True:
            for _ in range(30): print("x"); tracer.debug_sync("y")
            time.sleep(0.003)

    def deaf(tracer):
        tracer.result_sync("began")
        while True:
            try: time.sleep(0.05); tracer.result_sync("goes on"); print("goes on")
            except BaseException: pass

    def asleep(tracer):
        tracer.result_sync("began")
        time.sleep(1000)

    def ends(how: str):
        if how == "exit": sys.exit(3)
        if how == "interrupt": raise KeyboardInterrupt
        if how == "cancelled": raise asyncio.CancelledError
        if how == "base": raise type("Own", (BaseException,), {})("mine")
        def deeper(n): return deeper(n + 1)
        deeper(0)

    async def neighbour(tracer, seconds: float = 1.0):
        await tracer.result("began")
        await asyncio.sleep(seconds)
        return os.getpid()

    async def computes(tracer):
        await tracer.result("began")
        while True: len("")

    async def hostile(how: str):
        loop = asyncio.get_running_loop()
        if how == "stop":
            loop.stop()
        if how == "exit":
            async def leave(): sys.exit(3)
            asyncio.ensure_future(leave())
        if how == "cancel":
            for task in asyncio.all_tasks(): task.cancel()
        if how == "executor":
            await loop.shutdown_default_executor()
        await asyncio.sleep(0.1)
        return await asyncio.to_thread(os.getpid)

    def gen(tracer):
        print("printed")
        yield 1
        yield {"n": 2}
        return "the result"

    async def agen():
        yield 1
        await asyncio.sleep(0)
        yield {"n": 2}

    def makes_coroutine(tracer): return neighbour(tracer, 0)

    def makes_agen(): return agen()

    def gen_fails():
        yield 1
        raise ValueError("in the middle")

    def gen_endless(tracer):
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            tracer.result_sync("tidied up")

    async def agen_endless(tracer):
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            await tracer.result("tidied up")

    def coroutine_endless(tracer):
        async def wait():
            try:
                await tracer.result("began")
                await asyncio.sleep(1000)
            finally:
                await tracer.result("tidied up")
        return wait()
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    runner = {"min": 1, "max": 1, "concurrency": 100}
    return koco.deploy("threads", CODE, runner=runner)


def begun(app: Koco, flow: str, **inputs: Any) -> str:
    fid = app.launch(flow, **inputs)
    eventually(lambda: [e for e in app.get_events(fid) if e["kind"] == "result"])
    return fid


def cancel(app: Koco, fid: str, grace_s: float) -> list[Any]:
    with app.http() as client:
        answer = client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": grace_s})
    assert answer.status_code == 202, answer.text
    return app.events(fid)


def check_undamaged(app: Koco, fid: str) -> None:
    """The neighbour finishes, and of what it wrote nothing is missing or there twice."""
    events = app.events(fid)
    assert events[-1]["payload"] == {"status": "finished"}, events[-2:]
    for kind in ("debug", "stdout"):
        numbers = [int(event["payload"]) for event in events if event["kind"] == kind]
        assert numbers == list(range(len(numbers)))


def test_they_run_at_once_and_are_told_apart(app: Koco) -> None:
    """One process, a thread each; prints, logs, threads, pools and subprocesses are its own."""
    fids = [app.launch("crowd", me=number) for number in range(20)]
    pids = set()
    for me, fid in enumerate(fids):
        events = app.events(fid)
        assert events[-1]["payload"] == {"status": "finished"}, events[-2]
        pid, name, was_clean = events[-2]["payload"]
        assert (name, was_clean) == ("flow-crowd", True)
        pids.add(pid)
        out = [e["payload"] for e in events if e["kind"] == "stdout"]
        steps = [f"{where} {n}" for where in ("flow", "thread", "pool") for n in range(5)]
        expected = [f"{me} {what}" for what in (*steps, "child", "system", "fork")]
        assert sorted(out) == sorted(expected)
        err = [e["payload"] for e in events if e["kind"] == "stderr"]
        assert sorted(err) == sorted(
            [*(f"{me} {n}" for n in range(5)), *[f"{me} logged"] * 5, f"{me} child"]
        )
    assert len(pids) == 1
    told = [app.get(f"/v1/executions/{fid}") for fid in fids]
    # Which of them a busy machine lets run first is its own affair.
    pairs = itertools.combinations(told, 2)
    assert any(a["started"] < b["finished"] and b["started"] < a["finished"] for a, b in pairs)


def test_locks_and_files_work(app: Koco) -> None:
    """Both ask the control plane from a thread that waits for the answer."""
    asking = app.launch("asks")
    lock = eventually(lambda: app.get(f"/v1/executions/{asking}/locks")["items"])[0]
    assert app.execute("files").of("upload")
    with app.http() as client:
        client.post(f"/v1/executions/{asking}/locks/{lock['lid']}", json={"ok": True})
    assert app.events(asking)[-2]["payload"] == {"ok": True}


@pytest.mark.parametrize(
    "flow", ["polite", "gen-endless", "agen-endless", "coroutine-endless", "asks"]
)
def test_a_cancelled_one_tidies_up(app: Koco, flow: str) -> None:
    """Its `finally` runs, wherever it stands; a wait of koco's ends at once."""
    fid = app.launch(flow)
    eventually(lambda: [e for e in app.get_events(fid) if e["kind"] in ("result", "lock")])
    began = calm_s()
    events = cancel(app, fid, 20)
    assert calm_s() - began < 10
    assert events[-1]["payload"] == {"status": "cancelled"}
    results = [event["payload"] for event in events if event["kind"] == "result"]
    assert results[-1] == "tidied up"
    assert "error" not in [event["kind"] for event in events]


def test_cancelled_in_the_midst_of_writing_they_harm_nobody(app: Koco) -> None:
    """An exception that may come anywhere comes to no place where it leaves half a change."""
    near = begun(app, "napper", seconds=3)
    fids = [begun(app, "busy") for _ in range(4)]
    for fid in fids:
        assert cancel(app, fid, 20)[-1]["payload"] == {"status": "cancelled"}
    check_undamaged(app, near)


@pytest.mark.parametrize("flow", ["deaf", "asleep"])
def test_one_that_does_not_end_is_given_up(app: Koco, flow: str) -> None:
    """It is cancelled for all to see, writes nothing more; its process leaves after the others."""
    near = begun(app, "napper", seconds=2)
    fid = begun(app, flow)
    events = cancel(app, fid, 0.5)
    assert events[-1]["payload"] == {"status": "cancelled"}
    check_undamaged(app, near)
    assert app.get_events(fid) == events
    pid = app.get_events(near)[-2]["payload"]
    assert app.execute("neighbour", seconds=0).result != pid
    eventually(lambda: not _is_there(pid), within_s=40)


def _is_there(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_whatever_one_raises_harms_only_itself(app: Koco) -> None:
    """Exits, interrupts, endless recursion: an error of its own, and the process stays."""
    near = begun(app, "napper", seconds=2)
    for how, kind in {
        "exit": "SystemExit",
        "interrupt": "KeyboardInterrupt",
        "cancelled": "CancelledError",
        "base": "Own",
        "recursion": "RecursionError",
    }.items():
        ended = app.execute("ends", how=how)
        assert (ended.status, ended.error["type"]) == ("error", kind)
    check_undamaged(app, near)
    assert app.execute("neighbour", seconds=0).result == app.get_events(near)[-2]["payload"]


def test_no_flow_ends_the_loop_of_others(app: Koco) -> None:
    """Stopping it, exiting in a task, cancelling all there are, ending its executor."""
    near = begun(app, "neighbour", seconds=2)
    for how in ("stop", "exit", "executor"):
        assert app.execute("hostile", how=how).status == "finished"
    ended = app.execute("hostile", how="cancel")
    assert "but not through koco" in ended.error["message"]
    assert app.events(near)[-1]["payload"] == {"status": "finished"}


def test_one_that_blocks_the_loop_can_be_cancelled(app: Koco) -> None:
    """Others on it wait, and go on; the process stays."""
    near = begun(app, "neighbour")
    events = cancel(app, begun(app, "computes"), 20)
    assert events[-1]["payload"] == {"status": "cancelled"}
    pid = app.events(near)[-2]["payload"]
    assert app.execute("neighbour", seconds=0).result == pid


def test_generators_run(app: Koco) -> None:
    """What they yield are results; a sync one's `return` is the result, an async one has none."""
    for flow, final in {"gen": "the result", "agen": None, "makes-agen": None}.items():
        ended = app.execute(flow)
        assert (ended.status, ended.of("result")) == ("finished", [1, {"n": 2}])
        assert ended.result == final
    assert isinstance(app.execute("makes-coroutine").result, int)
    failed = app.execute("gen-fails")
    assert (failed.of("result"), failed.error["message"]) == ([1], "in the middle")
