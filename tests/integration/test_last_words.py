"""What a flow wrote before its process ended is in the stream, with why it ended."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.driver import Koco, eventually, kill9

CODE = r"""
    import ctypes, faulthandler, os, signal, subprocess, sys, time
    from pathlib import Path

    def exits():
        print("before the end", flush=True)
        os._exit(7)

    def leaves_half_a_line():
        print("50 %", end="")
        os.kill(os.getpid(), signal.SIGKILL)

    def writes_raw():
        os.write(1, b"raw\n")
        os._exit(7)

    def dies_by_its_child():
        subprocess.run(["sh", "-c", "echo child; echo err >&2; kill -9 $PPID"])

    def aborts_in_c():
        c = ctypes.CDLL(None)
        c.printf(b"from C\n")
        c.abort()

    def _reads_nowhere():
        ctypes.string_at(0)

    def crashes():
        print("before the crash")
        _reads_nowhere()

    def is_terminated():
        print("before the signal")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def keeps_a_child():
        import multiprocessing
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.1)
        child.terminate()
        child.join()
        print("the child has ended", child.exitcode)
        os._exit(3)

    def counts(tracer, path: str):
        "Write numbers, and into a file how far it is, until it is killed."
        with open(path, "wb", buffering=0) as file:
            file.write(b"%d\n" % os.getpid())
            for number in range(1_000_000):
                tracer.result_sync(number)
                file.write(b"%d\n" % number)
                time.sleep(0.0002)

    def returns(tracer, path: str):
        "Say who it is, wait for a file, and return."
        tracer.result_sync(os.getpid())
        while not os.path.exists(path):
            time.sleep(0.01)
        return "returned"

    def fine():
        return "fine"

    def starts_a_task(ending: str):
        import ray

        def work():
            if ending == "exit":
                os._exit(9)
            _reads_nowhere()

        return ray.get(ray.remote(work).options(max_retries=0).remote())
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Iterator[Koco]:
    app = koco.deploy("last-words", CODE, runner={"min": 3, "max": 8})
    yield app
    koco.run("undeploy", "last-words", "--yes", "--cancel").ok()


@pytest.mark.parametrize(
    ("flow", "lines", "cause"),
    [
        ("exits", ["before the end"], "ended with exit code 7"),
        ("leaves-half-a-line", ["50 %"], "was ended by SIGKILL (killed)"),
        ("writes-raw", ["raw"], "ended with exit code 7"),
        ("dies-by-its-child", ["child"], "was ended by SIGKILL (killed)"),
        ("aborts-in-c", ["from C"], "was ended by SIGABRT (aborted)"),
        ("crashes", ["before the crash"], "was ended by SIGSEGV (segmentation fault)"),
        ("is-terminated", ["before the signal"], "was ended by SIGTERM (terminated)"),
        ("keeps-a-child", ["the child has ended -15"], "ended with exit code 3"),
    ],
)
def test_the_last_words_are_in_the_stream(
    app: Koco, flow: str, lines: list[str], cause: str
) -> None:
    """Whatever ends a runner: what it wrote is there, and the error says how it ended."""
    ended = app.execute(flow)
    assert ended.of("stdout") == lines
    assert ended.status == "error"
    assert ended.error["type"] == "RunnerDied"
    assert cause in ended.error["message"]


def test_a_crash_has_the_stack_of_python(app: Koco) -> None:
    """The author's frames, newest last, with their lines, and nothing of koco's."""
    traceback = app.execute("crashes").error["traceback"]
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert 'last_words_app.py", line' in traceback
    assert traceback.index("in crashes") < traceback.index("in _reads_nowhere")
    assert "ctypes.string_at(0)" in traceback
    assert "koco/runner" not in traceback


@pytest.mark.parametrize(
    ("ending", "how"), [("exit", "ended with exit code 9"), ("crash", "was ended by SIGSEGV")]
)
def test_a_task_that_died_says_how(app: Koco, ending: str, how: str) -> None:
    """Ray knows only that its process is gone."""
    error = app.execute("starts-a-task", ending=ending).error
    assert error["type"] == "WorkerCrashedError"
    assert error["message"].startswith("the process of a Ray task or actor (pid ")
    assert how in error["message"]
    assert ("ctypes.string_at(0)" in error["traceback"]) is (ending == "crash")


def test_a_child_that_ends_the_runner_is_heard_each_time(app: Koco) -> None:
    """What it wrote microseconds before is in nobody's memory: it must be so every time."""
    with ThreadPoolExecutor(4) as threads:
        every = list(threads.map(lambda _: app.execute("dies-by-its-child"), range(12)))
    assert [each.of("stdout") for each in every] == [["child"]] * 12
    assert [each.of("stderr") for each in every] == [["err"]] * 12


def test_nothing_is_lost_where_both_are_killed(app: Koco, tmp_path: Path) -> None:
    """Runners and the control plane killed at the same moment: each event is there once."""
    for round_ in range(3):
        paths = [tmp_path / f"{round_}-{number}" for number in range(7)]
        fids = [app.launch("counts", path=str(path)) for path in paths]
        pids = [eventually(lambda path=path: _pid(path)) for path in paths]
        time.sleep(0.3)
        kill9(app.control_pid())
        # It is away for a second or so: they write on, and nobody takes it.
        for at, pid in enumerate(pids):
            time.sleep(0.02 * (at % 3))
            kill9(pid)
        for fid, path in zip(fids, paths, strict=True):
            eventually(lambda fid=fid: app.get(f"/v1/executions/{fid}")["finished"])
            events = app.get_events(fid)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            results = [event["payload"] for event in events if event["kind"] == "result"]
            assert results == list(range(len(results)))
            written = int(path.read_text().split()[-1])
            assert written <= len(results) - 1 <= written + 1
            [error] = [event["payload"] for event in events if event["kind"] == "error"]
            assert "was ended by SIGKILL (killed)" in error["message"]


def test_a_flow_that_had_returned_has_finished(app: Koco, tmp_path: Path) -> None:
    """Its runner is killed before the control plane, which is away, could be told."""
    go = tmp_path / "go"
    fid = app.launch("returns", path=str(go))
    pid = eventually(
        lambda: next((e["payload"] for e in app.get_events(fid) if e["kind"] == "result"), None)
    )
    kill9(app.control_pid())
    go.touch()
    time.sleep(0.5)  # enough for it to return, and too little for the control plane to be back
    kill9(pid)
    execution = eventually(lambda: (e := app.get(f"/v1/executions/{fid}"))["finished"] and e)
    assert execution["status"] == "finished", execution["error"]
    assert [e["payload"] for e in app.get_events(fid) if e["kind"] == "final"] == ["returned"]


def test_no_directory_stays(app: Koco) -> None:
    """What dead runners left is removed once it is delivered, and only its owner may read it."""
    [folder] = (path for path in app.root.glob("**/session_2*/koco") if path.is_dir())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert app.execute("fine").status == "finished"

    def only_living() -> bool:
        # Runners' ids are short. What Ray's workers left goes when the next one begins.
        runners = [each for each in folder.glob("*/") if len(each.name) <= 16]
        pids = [int((each / "process").read_text().split()[0]) for each in runners]
        return all(Path(f"/proc/{pid}").exists() for pid in pids)

    eventually(only_living)
    assert any(folder.glob("*/"))


def _pid(path: Path) -> int | None:
    lines = path.read_text().split("\n") if path.exists() else []
    return int(lines[0]) if len(lines) > 10 else None
