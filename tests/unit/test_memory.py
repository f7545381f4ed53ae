"""The limit on a process's memory: what is refused, and what is told of it."""

import mmap
import os
import subprocess
import sys
import tempfile
import textwrap

import pytest

from koco.runner import watch
from koco.sdk import memory
from koco.sdk.failures import describe
from koco.sdk.memory import MB, Limit
from tests.driver import eventually


def in_a_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_beyond_the_limit_is_refused() -> None:
    """The error has the figures and what was asked for; what fits is given."""
    said = in_a_process("""
        from koco.sdk import memory
        from koco.sdk.failures import describe
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


def test_the_default_is_a_part_of_the_node() -> None:
    """It is said to be, and is less than there is."""
    limit = memory.limit_of(None)
    assert limit is not None
    assert 0 < limit.size < memory.node_total()
    assert memory.node_free() <= memory.node_total()
    assert "80% of its node's memory" in limit.exceeded(5 * MB)


def test_without_a_limit_it_is_said_that_there_was_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `MemoryError` is out of memory wherever it comes from; other errors are not."""
    monkeypatch.setattr(memory, "_limit", None)
    assert describe(MemoryError("so much"))["type"] == "OutOfMemory"
    assert describe(MemoryError("so much"))["message"] == "there was no more memory: so much"
    assert describe(ValueError("x"))["type"] == "ValueError"


def test_subprocesses_and_shared_memory_count() -> None:
    """What children and shared mappings take is the parent's."""
    code = (
        "import mmap; m = mmap.mmap(-1, 30_000_000); m.write(b'a' * 30_000_000); print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in watch.tree(os.getpid())
        assert watch.exactly(child.pid) > 30_000_000
        assert watch.roughly(child.pid) >= 30_000_000
        child.communicate(b"\n")


def test_files_in_memory_count_once_mapped_or_not() -> None:
    """What is written to `/dev/shm` takes as much memory as anything else."""
    before = watch.exactly(os.getpid())
    size = 64_000_000
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(b"a" * size)
        file.flush()
        for _ in range(2):
            assert size * 0.9 < watch.exactly(os.getpid()) - before < size * 1.5
            assert watch.roughly(os.getpid()) >= size
            mapped = mmap.mmap(file.fileno(), size)
            assert mapped.read().count(b"a") == size


def test_a_watch_looks_only_while_there_is_work() -> None:
    """It tells once, with the figures."""
    heard: list[str] = []
    looking = watch.Watch(Limit(MB, is_asked=True), heard.append)
    assert heard == []
    looking.begin()
    eventually(lambda: heard, within_s=5)
    assert heard[0].endswith("MB of the 1 MB that `runner.memory_mb` allows")
