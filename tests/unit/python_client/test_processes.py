"""Programs that fork, and programs that are interrupted."""

import asyncio
import contextvars
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from koco.python_client.request_threads import RequestThreads
from tests.support import memory_plane
from tests.support.memory_plane import KEY, Plane
from tests.unit.python_client.test_python_client import GREET

#: Four processes ask at once, each for an execution of its own, with a client that one has used.
_ASKS = """
import os, sys
from koco import Client

client = Client(url=sys.argv[1], key=sys.argv[2])
executions = [client.run("greet", {"who": "Ada"}) for _ in range(4)]

def ask(execution):
    return all(execution.describe()["fid"] == execution.fid for _ in range(100))

children = []
for execution in executions[1:]:
    child = os.fork()
    if not child:
        os._exit(0 if ask(execution) else 1)
    children.append(child)
assert ask(executions[0])
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
"""

#: A process waits for a result while its parent does. Both have threads for that.
_WAITS = """
import asyncio, os, sys, threading, time
from koco import AsyncClient, Client

client, own = (each(url=sys.argv[1], key=sys.argv[2]) for each in (Client, AsyncClient))

async def run():
    return await (await own.run("greet", {"who": "Ada"})).result(timeout=15)

assert asyncio.run(run()) == "hi"
waiting = client.run("greet", {"who": "slow"})
threading.Thread(target=waiting.result, daemon=True).start()
time.sleep(0.3)
child = os.fork()
if not child:
    assert client.run("greet", {"who": "Ada"}).result(timeout=15) == "hi"
    assert asyncio.run(run()) == "hi"
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""

_RUNS = """
import asyncio, sys
from koco import AsyncClient

async def main():
    async with AsyncClient(url=sys.argv[1], key="k") as client:
        print("asks", flush=True)
        await client.run("greet", {})

asyncio.run(main())
"""


def run(program: str, plane: Plane) -> None:
    line = [sys.executable, "-c", program, plane.url, KEY]
    done = subprocess.run(line, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def ending(plane: Plane) -> Iterator[None]:
    """End each execution a moment after its launch, except those that are for `slow`."""
    is_over = threading.Event()

    def end() -> None:
        while not is_over.wait(0.3):
            for fid, each in list(plane.executions.items()):
                if each["inputs"] != {"who": "slow"} and each["status"] not in ("finished",):
                    plane.emit(fid, "final", "hi")
                    plane.end(fid, "finished")

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_forked_processes_get_their_own_answers() -> None:
    """They share no connection."""
    with memory_plane.serving() as plane:
        plane.flows["greet"] = GREET
        run(_ASKS, plane)


def test_a_forked_process_waits_as_its_parent_does() -> None:
    """With threads of its own: those of its parent are not there."""
    with memory_plane.serving() as plane, ending(plane):
        plane.flows["greet"] = GREET
        run(_WAITS, plane)


def test_an_interrupted_program_ends_at_once() -> None:
    """Although a request of its AsyncClient still waits for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = [sys.executable, "-c", _RUNS, url]
        pipe = subprocess.PIPE
        with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "asks\n"
            silent.settimeout(30)
            with silent.accept()[0]:
                program.send_signal(signal.SIGINT)
                try:
                    assert program.wait(15) == -signal.SIGINT
                finally:
                    program.kill()


def test_a_request_is_made_in_its_callers_context() -> None:
    """So a launch belongs to the present span of OpenTelemetry, which is kept there."""
    present = contextvars.ContextVar("present", default="")

    async def work() -> str:
        present.set("span")
        return await RequestThreads().run(present.get)

    assert asyncio.run(work()) == "span"


def test_a_few_threads_make_many_requests() -> None:
    """And end with the client, which cancels those that have not begun."""
    until_there_are_none()
    threads, names, begun = RequestThreads(), set(), threading.Event()

    def work() -> None:
        names.add(threading.current_thread().ident)
        time.sleep(0.01)

    async def many() -> None:
        await asyncio.gather(*(threads.run(work) for _ in range(200)))
        assert 1 < len(names) <= 32
        begun.clear()
        waiting = [asyncio.ensure_future(threads.run(begun.wait, 20)) for _ in range(40)]
        await asyncio.sleep(0.2)
        threads.close()
        begun.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [each for each in found if each is True] == [True] * 32
        assert all(isinstance(each, asyncio.CancelledError) for each in found if each is not True)

    asyncio.run(many())
    until_there_are_none()


def until_there_are_none() -> None:
    """Wait until the threads of all clients have ended, also of those that nobody has closed."""
    until = time.monotonic() + 20
    while any(each.name == "koco-client" for each in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
