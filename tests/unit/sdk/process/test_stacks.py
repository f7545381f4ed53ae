"""Stacks, as a process reports them itself and as they are read from outside."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from koco.sdk.process import stacks
from koco.sdk.process.stacks import Frame, Stack

KEEPS = """
import re
from koco.sdk.process import stacks
stacks.install()
print(flush=True)
def keeps():
    re.match("(a+)+$", "a" * 40 + "b")
keeps()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
def test_reads_stacks_of_a_process_that_holds_the_interpreters_lock() -> None:
    """Twice, each time the current ones; a process without the file returns none."""
    with subprocess.Popen([sys.executable, "-c", KEEPS], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.3)  # the thread is inside by then
            for _ in range(2):
                found = stacks.dump(process.pid)
                assert found is not None
                [stack] = found
                assert [each.function for each in stack.frames][:2] == ["<module>", "keeps"]
        finally:
            process.kill()
    with subprocess.Popen(["sleep", "60"]) as process:
        assert stacks.dump(process.pid) is None
        process.kill()


def test_parses_the_output_of_faulthandler() -> None:
    """The newest call comes last; every thread has a stack."""
    text = (
        "Thread 0x0a (most recent call first):\n"
        '  File "/a/b.py", line 2 in inner\n  File "/a/b.py", line 7 in outer\n\n'
        'Current thread 0x0b (most recent call first):\n  File "/c.py", line 1 in <module>\n'
    )
    assert stacks.parse(text) == [
        Stack("thread 10", [Frame("/a/b.py", 7, "outer"), Frame("/a/b.py", 2, "inner")], ""),
        Stack("thread 11", [Frame("/c.py", 1, "<module>")], ""),
    ]


def test_a_task_is_shown_with_its_awaitables() -> None:
    """Through coroutines, and through `gather` to other tasks."""
    asyncio.run(_look_at_a_task())


async def _look_at_a_task() -> None:
    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await asyncio.gather(inner(), inner())

    task = asyncio.create_task(outer())
    await asyncio.sleep(0.01)
    first, *others = stacks.of_task(task, "it", None)
    assert [each.function.rpartition(".")[2] for each in first.frames] == ["outer"]
    assert first.waits == ""
    assert [each.frames[0].function.rpartition(".")[2] for each in others] == ["inner", "inner"]
    assert others[0].waits == "Future"
    task.cancel()


def test_threads_have_names() -> None:
    """Threads that wait for a lock as well."""
    lock, began = threading.Lock(), threading.Event()
    lock.acquire()

    def waits() -> None:
        began.set()
        lock.acquire()

    thread = threading.Thread(target=waits, name="stuck", daemon=True)
    thread.start()
    began.wait()
    found = stacks.stacks_of_threads(lambda ident: ident != thread.ident)
    lock.release()
    assert [each.name for each in found] == ["thread stuck"]
    assert found[0].frames[-1].function.endswith("waits")


def test_only_the_authors_frames_are_shown() -> None:
    """Its callers' frames are dropped, and files are named as in the bundle."""
    root = "/tmp/ray/session_1/runtime_resources/py_modules_files/abc"
    stack = Stack(
        "x",
        [
            Frame(threading.__file__, 1, "run"),
            Frame(f"{root}/hello/app.py", 3, "greet"),
            Frame(threading.__file__, 2, "wait"),
        ],
        "",
    )
    assert stacks.is_of_an_author(stack)
    shown = stacks.for_display(stack).frames
    assert [each.file for each in shown] == ["hello/app.py", threading.__file__]
    assert not stacks.is_of_an_author(Stack("x", stack.frames[:1], ""))
