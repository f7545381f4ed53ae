"""What authors' code does to the process that it runs in: one flow for each kind of misbehaviour.

This file is deployed as it is (see `test_hostile_flows.py`), so it needs nothing but Ray.
"""

# It does on purpose what these rules forbid.
# ruff: noqa: ASYNC251, BLE001, N818, PLW1510, SIM105

import asyncio
import atexit
import builtins
import ctypes
import gc
import json
import logging
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
import warnings
from pathlib import Path

import ray

#: Longer than any test waits (seconds). A process of this name is one that a flow left behind.
FOR_EVER = 86_399


def ordinary(number: int = 1) -> int:
    print("ordinary")
    return number + 1


# it ends its process


def exits_at_once():
    print("before the end", flush=True)
    os._exit(7)


def exits_in_c():
    print("before the end", flush=True)
    ctypes.CDLL(None).exit(5)


def exits_from_a_thread():
    threading.Thread(target=os._exit, args=(9,)).start()
    time.sleep(FOR_EVER)


def terminates_itself():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def hangs_up():
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(3)


def is_woken_by_an_alarm():
    signal.alarm(1)
    time.sleep(10)


def reads_address_zero():
    ctypes.string_at(0)


def aborts():
    os.abort()


def becomes_another_program():
    os.execv("/bin/sleep", ["sleep", str(FOR_EVER)])


def overflows_the_stack():
    sys.setrecursionlimit(10**9)

    class Deep:
        def __repr__(self):
            return repr(self)

    repr(Deep())


def _nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


def kills_its_group():
    os.killpg(0, signal.SIGTERM)
    time.sleep(3)


# it stays, and does not work any more


def stops_its_process():
    os.kill(os.getpid(), signal.SIGSTOP)


def leaves_ray():
    ray.shutdown()
    return "left"


def leaves_its_actor():
    ray.actor.exit_actor()


def closes_all_descriptors():
    os.closerange(3, 4096)
    return "closed"


def waits_for_itself():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def spins():
    while True:
        pass


def ignores_everything():
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            pass


def keeps_the_interpreter_for_a_while():
    ctypes.PyDLL(None).sleep(14)
    return "slept"


def keeps_the_interpreter():
    ctypes.PyDLL(None).sleep(FOR_EVER)


def backtracks():
    re.match(r"(a+)+$", "a" * 60 + "b")


async def blocks_its_loop():
    time.sleep(FOR_EVER)


async def swallows_its_cancellation():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


async def stops_its_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.2)
    return "stopped"


async def cancels_all_tasks():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0.1)


async def cancels_what_gc_finds():
    for each in gc.get_objects():
        if isinstance(each, asyncio.Task) and each is not asyncio.current_task():
            each.cancel()
    await asyncio.sleep(0.1)
    return "cancelled"


async def closes_its_selector():
    asyncio.get_running_loop()._selector.close()
    await asyncio.sleep(0.1)


async def has_an_async_subprocess():
    child = await asyncio.create_subprocess_exec("echo", "from a child")
    return await child.wait()


def waits_for_a_subprocess():
    subprocess.run(["sleep", str(FOR_EVER)])


# it raises


def exits_politely():
    sys.exit(3)


def interrupts():
    raise KeyboardInterrupt


class _Base(BaseException):
    pass


def raises_what_is_no_exception():
    raise _Base("not an Exception")


def says_it_is_cancelled():
    raise asyncio.CancelledError


def raises_stop_iteration():
    raise StopIteration


class _Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


def raises_without_words():
    raise _Unspeakable


def raises_with_many_words():
    raise ValueError("x" * 30_000_000)


def recurses():
    return recurses()


def raises_a_group():
    raise BaseExceptionGroup("several", [ValueError("one"), KeyboardInterrupt()])


async def raises_at_the_end():
    class Bad:
        def __del__(self):
            raise ValueError("in __del__")

    Bad()
    gc.collect()
    raise LookupError("at the end")


# it leaves something behind


def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(FOR_EVER,), daemon=False).start()
    return "left"


def leaves_a_printing_thread():
    def talk():
        while True:
            print("still here")
            time.sleep(0.001)

    threading.Thread(target=talk, daemon=True).start()
    return "left"


def leaves_many_threads():
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(FOR_EVER,), daemon=True).start()
    return "left"


def leaves_an_exit_handler():
    atexit.register(time.sleep, FOR_EVER)
    return "left"


def leaves_a_fork():
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    return "left"


@ray.remote(num_cpus=1)
def _sleep(seconds):
    time.sleep(seconds)


@ray.remote(num_cpus=0)
def _nest():
    ray.get(_sleep.remote(FOR_EVER))


@ray.remote(num_cpus=1)
class _Sleeper:
    def nap(self, seconds):
        time.sleep(seconds)


def leaves_tasks():
    for _ in range(4):
        _sleep.remote(FOR_EVER)
    time.sleep(1)
    return "left"


def waits_for_tasks():
    ray.get([_sleep.remote(FOR_EVER) for _ in range(4)])


def waits_for_nested_tasks():
    ray.get(_nest.remote())


def waits_for_an_actor():
    ray.get(_Sleeper.remote().nap.remote(FOR_EVER))


@ray.remote(num_cpus=1, max_retries=0)
def _exit():
    print("before the end", flush=True)
    os._exit(11)


def has_a_task_that_exits():
    ray.get(_exit.remote())


@ray.remote(num_cpus=1)
def _stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def waits_for_a_stopped_task():
    ray.get(_stop.remote())


# it changes what all share


def closes_its_output():
    sys.stdout.close()
    os.close(1)
    os.close(2)
    return "closed"


def has_no_output():
    sys.stdout = sys.stderr = None
    return "none"


def clears_its_environment():
    os.environ.clear()
    return "cleared"


def goes_where_nothing_is():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    return "gone"


def stops_the_clocks():
    time.time = time.monotonic = lambda: 0.0
    time.sleep = lambda seconds: None
    return "stopped"


def replaces_builtins():
    builtins.print = builtins.open = builtins.repr = None
    json.dumps = json.loads = None
    return "replaced"


def turns_warnings_into_errors():
    warnings.simplefilter("error")
    logging.shutdown()
    logging.disable(logging.CRITICAL)
    logging.raiseExceptions = True
    socket.setdefaulttimeout(0.001)
    asyncio.set_event_loop_policy(None)
    return "strict"


def allows_little_depth():
    sys.setrecursionlimit(60)
    return "flat"


def allows_no_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
    return "none"


def never_switches():
    sys.setswitchinterval(1e9)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        pass
    return "switched"


def forgets_its_modules():
    for name in [name for name in sys.modules if not name.startswith(("ray", "koco"))]:
        del sys.modules[name]
    return "forgotten"


# it says too much, or what nobody understands


def prints_without_end():
    while True:
        print("x" * 1000)


def prints_garbage():
    os.write(1, bytes(range(256)) * 1000)
    print("\udcff\ud800", "\x00\x1b[2J")
    return "printed"


def prints_one_long_line():
    print("y" * 50_000_000)
    return "printed"


def returns_a_mock():
    return unittest.mock.MagicMock()


def returns_itself():
    found = []
    found.append(found)
    return found


def returns_the_depths():
    return _nested(100_000)


def returns_what_cannot_be_shown():
    return _Unspeakable()


class _Endless:
    def __repr__(self):
        while True:
            pass


def returns_what_is_shown_for_ever():
    return _Endless()


def returns_a_lock():
    return {"lock": threading.Lock(), "module": os, "file": sys.stdin, "path": Path("/tmp")}


def returns_a_huge_number():
    return 10**100_000


def returns_too_much():
    return "z" * 200_000_000


def yields_without_end():
    number = 0
    while True:
        number += 1
        yield number


async def emits_without_end(tracer):
    while True:
        await tracer.result("event")
