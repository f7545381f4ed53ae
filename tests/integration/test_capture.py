"""What flows write, however they write it: it arrives or says what was cut, and fails nothing."""

import json
from typing import Any

import pytest

from tests.support.driver import Ended, Koco, eventually, kill9

OWN = """
    import asyncio, ctypes, faulthandler, logging, multiprocessing, os, subprocess, sys
    import threading, time, warnings
    from concurrent.futures import ThreadPoolExecutor

    _handler = logging.StreamHandler(sys.stderr)

    def everything(tracer):
        print("x" * 3_000_000)
        os.write(1, b"y" * 3_000_000 + b"\\n")
        os.write(1, b"invalid \\xff\\xfe\\n")
        print("surrogate \\ud800")
        print("nul \\0.")
        for step in range(0, 101, 50):
            print(f"\\r{step} %", end="", file=sys.stderr)
        print(file=sys.stderr)
        c = ctypes.CDLL(None)
        c.printf(b"from C\\n"); c.puts(b"puts"); c.printf(b"no newline from C\\n")
        sys.stdout.buffer.write("bytes ä\\n".encode()); sys.stdout.buffer.flush()
        subprocess.run(["sh", "-c", "echo sub; echo suberr >&2"])
        child = multiprocessing.get_context("fork").Process(target=print, args=("a", "fork"))
        child.start(); child.join()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: print("pool", n), range(4)))
        logging.basicConfig(level=logging.INFO, force=True)
        logging.info("basic config")
        _log = logging.getLogger("bound at import"); _log.propagate = False
        _log.handlers = [_handler]; _log.warning("handler bound at import")
        warnings.warn("warned")
        faulthandler.dump_traceback(all_threads=False)
        print("partial", end="", flush=True); time.sleep(0.01); print(" line")
        print("the end has no newline", end="")

    def burst(tracer):
        for number in range(100_000):
            print(number)
        return os.getpid()

    def endless(tracer):
        tracer.result_sync(os.getpid())
        number = 0
        while True:
            print(number); tracer.debug_sync(number); number += 1

    async def endless_async(tracer):
        await tracer.result(os.getpid())
        number = 0
        while True:
            print(number); await tracer.debug(number); number += 1
            if number % 50 == 0:
                await asyncio.sleep(0)

    def burst_of_a_subprocess():
        subprocess.run(["seq", "100000"], check=True)

    def payloads(tracer):
        loop = {}; loop["self"] = loop
        deep = []
        for _ in range(100_000): deep = [deep]
        class Bad:
            def __repr__(self): raise ValueError("no repr")
            def model_dump(self, mode): raise ValueError("no dump")
        tracer.result_sync(loop); tracer.result_sync(deep); tracer.result_sync(Bad())
        tracer.result_sync(threading.Lock()); tracer.result_sync("\\ud800")
        return threading.Lock()

    def large(tracer, mib: int = 50):
        tracer.result_sync("z" * (mib * 1024 * 1024 - 2))
        return {"data": "z" * (mib * 1024 * 1024 - 11)}

    def raises_surrogate():
        raise ValueError("\\ud800" + "!" * 1_000_000)

    class _Mute(Exception):
        def __str__(self): raise RuntimeError("no str")

    def raises_mute():
        raise _Mute

    def leaves_behind(tracer):
        def linger():
            for number in range(40):
                print("late thread"); tracer.result_sync("late result"); time.sleep(0.05)
        threading.Thread(target=linger, daemon=True).start()
        late = "for n in 1 2 3 4 5 6 7 8 9; do echo late child; sleep 0.2; done"
        subprocess.Popen(["sh", "-c", late])
        ctypes.CDLL(None).printf(b"unfinished in C")
        sys.stdout = open(os.devnull, "w")
        sys.stderr = None
        return os.getpid()

    def after(seconds: float = 1.0):
        print("begun"); time.sleep(seconds); print("ended", file=sys.stderr)
        return os.getpid()

    async def twins(tracer):
        def sync(name):
            for number in range(200):
                tracer.result_sync([name, number])
        async def awaited(name):
            for number in range(200):
                await tracer.result([name, number])
        threads = [threading.Thread(target=sync, args=(f"thread {n}",)) for n in range(4)]
        for thread in threads: thread.start()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            await asyncio.gather(
                *(awaited(f"task {n}") for n in range(4)),
                *(asyncio.to_thread(sync, f"to_thread {n}") for n in range(4)),
                *(loop.run_in_executor(pool, sync, f"executor {n}") for n in range(4)),
            )
        for thread in threads: thread.join()
"""

SHARED = """
    import asyncio, threading
    from concurrent.futures import ThreadPoolExecutor

    _pool = ThreadPoolExecutor(4)

    async def crowd(tracer, me: int):
        loop = asyncio.get_running_loop()
        def work(where):
            for number in range(20):
                print(me, where, number); tracer.debug_sync(me, where, number)
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        for number in range(20):
            print(me, "task", number); await tracer.debug(me, "task", number)
            await asyncio.sleep(0.001)
        await asyncio.gather(asyncio.to_thread(work, "to_thread"),
                             loop.run_in_executor(_pool, work, "pool"))
        await asyncio.to_thread(thread.join)
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    koco.deploy("crowded", SHARED, runner={"max": 1, "concurrency": 100})
    return koco.deploy("captured", OWN, runner={"max": 1})


@pytest.fixture(scope="module")
def written(app: Koco) -> Ended:
    return app.execute("everything")


def test_all_that_is_written_arrives(written: Ended) -> None:
    """Long lines, bad bytes, C, forks, bytes, pools, partial lines, each in its place."""
    assert written.status == "finished", written.events[-2]
    out = written.of("stdout")
    for letter in "xy":
        pieces = [text for text in out if text.startswith(letter * 100)]
        assert "".join(pieces) == letter * 3_000_000
        assert len(pieces) == 3
    rest = [text for text in out if len(text) < 1000]
    pooled = [text for text in rest if text.startswith("pool")]
    assert sorted(pooled) == [f"pool {n}" for n in range(4)]
    assert [text for text in rest if text not in pooled] == [
        "invalid \\xff\\xfe",
        "surrogate \\ud800",
        "nul \0.",
        "from C",
        "puts",
        "no newline from C",
        "bytes ä",
        "sub",
        "a fork",
        "partial line",
        "the end has no newline",
    ]


def test_stderr_has_what_was_written_there(written: Ended) -> None:
    """Progress bars, logging however it was set up, warnings, faults, and what was cut."""
    err = written.of("stderr")
    notices = [text for text in err if text.startswith("koco: ")]
    assert notices == ["koco: a line of 3,000,000 characters on stdout came in 3 pieces"] * 2
    for text in ("0 %", "50 %", "100 %", "suberr", "INFO:root:basic config"):
        assert text in err
    assert "handler bound at import" in err
    assert any("UserWarning: warned" in text for text in err)
    assert any("most recent call first" in text for text in err)


@pytest.mark.parametrize("flow", ["burst", "burst-of-a-subprocess"])
def test_a_burst_of_lines_arrives_whole(app: Koco, flow: str) -> None:
    """100,000 lines, once each, in order."""
    first = 0 if flow == "burst" else 1
    assert app.execute(flow).of("stdout") == [str(n + first) for n in range(100_000)]


def _check_gapless(events: list[dict[str, Any]]) -> None:
    """Nothing is missing up to the end, nothing is there twice."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for kind in ("stdout", "debug"):
        numbers = [int(event["payload"]) for event in events if event["kind"] == kind]
        assert numbers == list(range(len(numbers)))
        assert numbers


@pytest.mark.parametrize("flow", ["endless", "endless-async"])
def test_cancelled_in_a_burst_nothing_is_missing(app: Koco, flow: str) -> None:
    """Whatever was written before the request took effect is there; the process serves the next."""
    fid = app.launch(flow)
    pid = eventually(lambda: _pid(app, fid))
    app.run("cancel", fid, "--grace", "30").ok()
    events = app.events(fid)
    assert events[-1]["payload"] == {"status": "cancelled"}
    _check_gapless(events)
    assert app.execute("after", seconds=0).result == pid


def test_killed_in_a_burst_nothing_is_missing_between(app: Koco) -> None:
    """What had left the process is there without gaps, then the cause."""
    fid = app.launch("endless")
    kill9(eventually(lambda: _pid(app, fid)))
    events = app.events(fid)
    assert events[-2]["payload"]["type"] == "RunnerDied"
    _check_gapless(events)


def test_a_look_at_a_busy_execution_ends(app: Koco) -> None:
    """What was there when it was asked for, however fast more is written."""
    fid = app.launch("endless")
    pid = eventually(lambda: _pid(app, fid))
    assert [event["payload"] for event in app.get_events(fid, kind="result")] == [pid]
    kill9(pid)
    assert app.events(fid, tail=1)[-1]["payload"] == {"status": "error"}


def _pid(app: Koco, fid: str) -> int:
    seen = app.get_events(fid)
    assert any(event["kind"] == "debug" for event in seen)
    return next(event["payload"] for event in seen if event["kind"] == "result")


def test_payloads_that_are_no_json_fail_nothing(app: Koco) -> None:
    """What of each is no JSON is kept as its repr; so is a return value."""
    ended = app.execute("payloads")
    assert ended.status == "finished"
    loop, deep, bad, lock, surrogate = ended.of("result")
    assert "{...}" in loop["self"]["$repr"]
    while isinstance(deep, list):
        [deep] = deep
    assert deep["$type"] == "builtins.list"
    assert "ValueError" in bad["$repr"]
    assert lock["$type"] == ended.result["$type"] == "_thread.lock"
    assert surrogate == "\\ud800"


def test_a_large_payload_arrives_whole_a_larger_one_says_so(app: Koco) -> None:
    """50 MiB arrive; of 80 MiB the beginning, with the size."""
    mib = 1024 * 1024
    ended = app.execute("large")
    assert [len(text) for text in ended.of("result")] == [50 * mib - 2]
    assert len(json.dumps(ended.result, separators=(",", ":"))) == 50 * mib
    larger = app.execute("large", mib=80)
    assert larger.status == "finished"
    assert [result["$cut"] for result in larger.of("result")] == [80 * mib]
    assert larger.result["$cut"] == 80 * mib
    assert larger.result["$start"].startswith('{"data":"zzz')


@pytest.mark.parametrize("flow", ["raises-surrogate", "raises-mute"])
def test_an_exception_may_have_any_message(app: Koco, flow: str) -> None:
    """It is the execution's outcome, and the runner goes on."""
    ended = app.execute(flow)
    assert ended.status == "error"
    shown = {"raises-surrogate": "\\ud800!!!", "raises-mute": "<its str raised RuntimeError>"}
    assert ended.error["message"].startswith(shown[flow])


def test_nothing_leaks_into_the_next_execution(app: Koco) -> None:
    """Threads, subprocesses and streams that an execution leaves behind touch no other."""
    before = app.execute("leaves-behind")
    # The subprocess may have gone on with that line.
    assert any(text.startswith("unfinished in C") for text in before.of("stdout"))
    ended = app.execute("after")
    assert ended.result == before.result, "another process: nothing is proved"
    assert (ended.of("stdout"), ended.of("stderr")) == (["begun"], ["ended"])
    assert ended.of("result") == []


def test_each_producer_is_in_order(app: Koco) -> None:
    """Coroutines, threads, `to_thread` and executors, sixteen at once."""
    results = app.execute("twins").of("result")
    producers = {name for name, _ in results}
    assert len(producers) == 16
    for name in producers:
        assert [number for who, number in results if who == name] == list(range(200))


def test_a_hundred_executions_in_one_process_are_told_apart(app: Koco) -> None:
    """Output and events from tasks, threads and a shared pool: each execution has its own."""
    fids = [app.launch("crowded/crowd", me=me) for me in range(100)]
    for me, fid in enumerate(fids):
        ended = Ended(fid, app.events(fid))
        assert ended.status == "finished"
        for kind in ("stdout", "debug"):
            lines = ended.of(kind)
            for where in ("task", "thread", "to_thread", "pool"):
                mine = [text for text in lines if text.split()[1] == where]
                assert mine == [f"{me} {where} {number}" for number in range(20)]
            assert len(lines) == 80
    eventually(lambda: app.get("/v1/status")["executions"].get("running", 0) == 0)
