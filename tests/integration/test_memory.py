"""A flow that takes more memory than it may ends, told as such, and nothing else does.

Each kind ends so once; the long form has it ten times of ten:

    KOCO_TEST_ROUNDS=10 .venv/bin/pytest tests/integration/test_memory.py
"""

import os
from collections.abc import Iterator

import pytest

from tests.support.driver import Ended, Koco, eventually

CODE = '''
    import mmap, os, subprocess, sys, tempfile, time

    import ray

    def chunks():
        x = []
        while True:
            x.append(b"a" * 1_000_000)

    def giant():
        return len(bytearray(10**11))

    def hoard(kept=[]):
        while True:
            kept.append([0] * 100_000)

    def shared():
        x = []
        while True:
            x.append(mmap.mmap(-1, 10_000_000))
            x[-1].write(b"a" * 10_000_000)
            time.sleep(0.01)

    def file():
        """A file in memory, which goes as soon as nobody has it."""
        with tempfile.TemporaryFile(dir="/dev/shm") as taken:
            for size in range(10_000_000, 2_000_000_000, 10_000_000):
                taken.truncate(size)
                mapped = mmap.mmap(taken.fileno(), size)
                mapped[-10_000_000:] = b"a" * 10_000_000
                time.sleep(0.01)

    def arrays():
        import numpy
        kept = []
        while True:
            kept.append(numpy.ones(1_000_000))

    def growing():
        x = bytearray()
        while True:
            x += b"a" * 1_000_000

    def children():
        """Each takes 100 MB, less than one process may."""
        code = "x = bytearray(100_000_000); import time; time.sleep(60)"
        for _ in range(20):
            subprocess.Popen([sys.executable, "-c", code])
        time.sleep(60)

    def task():
        @ray.remote(num_cpus=0, max_retries=0)
        def hog():
            x = []
            while True:
                x.append(b"a" * 1_000_000)

        ray.get(hog.remote())

    def caught():
        """Goes on with what fits."""
        try:
            bytearray(10**11)
        except MemoryError:
            return "did without"

    def nap():
        time.sleep(8)

    def quick():
        return os.getpid()
'''

ROUNDS = int(os.environ.get("KOCO_TEST_ROUNDS", "1"))

#: Enough for a runner itself, and not for much more.
LIMIT_MB = 300


@pytest.fixture(scope="module")
def app(koco: Koco) -> Iterator[Koco]:
    yield koco.deploy("memory", CODE, runner={"max": 1, "memory_mb": LIMIT_MB})


def ran_out(app: Koco, flow: str) -> Iterator[Ended]:
    """Run a flow that ends for want of memory; what comes after works, and so do the others."""
    control = app.control_pid()
    for _ in range(ROUNDS):
        ended = app.execute(flow)
        assert ended.status == "error", ended.events
        assert ended.error["type"] == "OutOfMemory", ended.error
        assert app.execute("quick").status == "finished"
        assert app.control_pid() == control
        yield ended


@pytest.mark.parametrize("flow", ["chunks", "giant", "hoard", "growing", "arrays"])
def test_what_a_process_asks_for_beyond_its_limit_is_refused(app: Koco, flow: str) -> None:
    """The cause has the figures, and the line that asked; the control plane is not touched."""
    for ended in ran_out(app, flow):
        assert "of the 300 MB that `runner.memory_mb` allows" in ended.error["message"]
        assert f"in {flow}" in ended.error["traceback"]


@pytest.mark.parametrize("flow", ["shared", "file", "children"])
def test_shared_memory_and_subprocesses_count(app: Koco, flow: str) -> None:
    """What no single process is refused is found from outside, and ends the execution."""
    for ended in ran_out(app, flow):
        assert "of the 300 MB that `runner.memory_mb` allows" in ended.error["message"]


def test_a_ray_task_has_the_same_limit(app: Koco) -> None:
    """Its error says that it was memory."""
    for ended in ran_out(app, "task"):
        assert "Ray task" in ended.error["message"]


def test_executions_of_one_process_share_its_limit(koco: Koco) -> None:
    """Nobody knows whose the memory is: they end together, and it is said how many they were."""
    code = """
        import asyncio, mmap

        async def takes(kept=[]):
            while True:
                kept.append(mmap.mmap(-1, 10_000_000))
                kept[-1].write(b"a" * 10_000_000)
                await asyncio.sleep(0.02)

        async def waits(tracer):
            await tracer.result("began")
            await asyncio.sleep(60)
    """
    runner = {"max": 1, "concurrency": 10, "memory_mb": LIMIT_MB}
    app = koco.deploy("memory-shared", code, runner=runner)
    neighbour = app.launch("waits")
    eventually(lambda: [e for e in app.get_events(neighbour) if e["kind"] == "result"])
    for ended in (app.execute("takes"), Ended(neighbour, app.events(neighbour))):
        assert ended.error["type"] == "OutOfMemory"
        assert ended.error["message"].endswith("in a process with 1 other execution")


def test_a_flow_may_do_without(app: Koco) -> None:
    """A `MemoryError` is an exception like others: who catches it goes on."""
    assert app.execute("caught").result == "did without"


def test_where_a_node_has_little_left_the_heaviest_ends(fresh: Koco) -> None:
    """Whoever uses most ends, before Ray or the kernel chooses; the control plane goes on."""
    # From here on this node counts as short, so what uses more than 5 % of it has to go.
    fresh.env["RAY_memory_usage_threshold"] = "0.01"
    app = fresh.up().deploy("heavy", CODE, runner={"max": 2, "memory_mb": 4000})
    control, innocent = app.control_pid(), app.launch("nap")
    error = app.execute("chunks").error
    assert error["type"] == "OutOfMemory", error
    assert "more than any other, when its node had" in error["message"]
    assert app.events(innocent)[-1]["payload"]["status"] == "finished"
    assert app.execute("quick").status == "finished"
    assert app.control_pid() == control
