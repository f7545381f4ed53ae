"""The limit on a process's memory: refused allocations, and their messages."""

import mmap
import os
import subprocess
import sys
import tempfile
import textwrap

import pytest

from koco.runner.process import memory_watch
from koco.sdk.process import memory
from koco.sdk.process.memory import Limit
from koco.sdk.process.tracebacks import describe
from koco.sizes import MB
from tests.support.driver import eventually


def in_a_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_refuses_allocations_beyond_the_limit() -> None:
    """The error has the figures and the size asked for; smaller allocations succeed."""
    said = in_a_process("""
        from koco.sdk.process import memory
        from koco.sdk.process.tracebacks import describe
        memory.restrict(memory.limit_of(200))
        kept = bytearray(50_000_000)
        try:
            bytearray(10**10)
        except MemoryError as exc:
            found = describe(exc)
        print(found["type"], found["message"])
""")
    assert said.startswith("OutOfMemory used "), said
    assert said.endswith("MB of the 200 MB that `runner.memory_mb` allows, and asked for more"), (
        said
    )


def test_the_default_limit_is_a_share_of_the_node() -> None:
    """The message says so, and the limit is less than the node's memory."""
    limit = memory.limit_of(None)
    assert limit is not None
    assert 0 < limit.size < memory.node_total()
    assert memory.node_free() <= memory.node_total()
    assert "80% of its node's memory" in limit.exceeded_message(5 * MB)


def test_without_a_limit_the_message_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any `MemoryError` counts as out of memory, wherever it comes from; other errors do not."""
    monkeypatch.setattr(memory, "_limit", None)
    assert describe(MemoryError("so much"))["type"] == "OutOfMemory"
    assert describe(MemoryError("so much"))["message"] == "there was no more memory: so much"
    assert describe(ValueError("x"))["type"] == "ValueError"


def test_subprocesses_and_shared_memory_count() -> None:
    """The use of children and of shared mappings counts for the parent."""
    code = (
        "import mmap; m = mmap.mmap(-1, 30_000_000); m.write(b'a' * 30_000_000); print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in memory_watch.process_tree(os.getpid())
        assert memory_watch.measure(child.pid) > 30_000_000
        assert memory_watch.estimate(child.pid) >= 30_000_000
        child.communicate(b"\n")


def test_files_in_memory_count_once_mapped_or_not() -> None:
    """Files in `/dev/shm` use as much memory as anything else."""
    before = memory_watch.measure(os.getpid())
    size = 64_000_000
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(b"a" * size)
        file.flush()
        for _ in range(2):
            assert size * 0.9 < memory_watch.measure(os.getpid()) - before < size * 1.5
            assert memory_watch.estimate(os.getpid()) >= size
            mapped = mmap.mmap(file.fileno(), size)
            assert mapped.read().count(b"a") == size


def test_a_watch_measures_only_while_there_is_work() -> None:
    """It reports once, with the figures."""
    heard: list[str] = []
    looking = memory_watch.Watch(Limit(MB, is_asked=True), heard.append)
    assert heard == []
    looking.begin()
    eventually(lambda: heard)
    assert heard[0].endswith("MB of the 1 MB that `runner.memory_mb` allows")
