"""Looking at processes from outside, and ending them for certain."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.cluster import node_processes
from koco.runner.process.identity import Process, identify

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux only")


@contextlib.contextmanager
def python(code: str) -> Iterator[tuple[subprocess.Popen[str], Process]]:
    """Run code that prints a line when it is ready."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout and child.stdout.readline()
        yield child, identify(child.pid)
    finally:
        child.kill()
        child.wait()
        assert child.stdout
        child.stdout.close()


SLEEPS = "import time; print('ready', flush=True); time.sleep(60)"
SPINS = "print('ready', flush=True)\nwhile True: pass"
DEAF = f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEPS}"
CATCHES = f"import signal; signal.signal(10, lambda *_: print('caught', flush=True)); {SLEEPS}"
#: A thread that waits for the interpreter's lock, which C code keeps while it sleeps.
KEEPS_THE_LOCK = """
import ctypes, threading, time
threading.Thread(target=lambda: [time.sleep(0.01) for _ in range(10**6)], daemon=True).start()
print("ready", flush=True)
ctypes.PyDLL(None).sleep(60)
"""


def state(process: Process) -> str:
    seen = node_processes.look(process)
    return seen.state if seen else "gone"


def until(process: Process, letter: str) -> None:
    for _ in range(200):
        if state(process) == letter:
            return
        time.sleep(0.01)
    raise AssertionError(f"it is {state(process)}, not {letter}")


def test_a_look_shows_what_a_process_does() -> None:
    """Sleeping uses nothing, computing does, and a stopped process is recognised."""
    with python(SLEEPS) as (child, process):
        until(process, "S")
        first = node_processes.look(process)
        time.sleep(0.2)
        second = node_processes.look(process)
        assert first and second
        assert second.cpu_s - first.cpu_s < 0.05
        assert first.rss_bytes > 1_000_000
        assert second.at > first.at
        child.send_signal(signal.SIGSTOP)
        until(process, "T")
        stopped = node_processes.look(process)
        assert stopped
        assert stopped.is_stopped
    with python(SPINS) as (_, process):
        first = node_processes.look(process)
        time.sleep(0.5)
        second = node_processes.look(process)
        assert first and second
        assert second.cpu_s > first.cpu_s
        before, after = (sum(each.delays_s.values()) for each in (first, second))
        assert 0 <= before <= after <= second.at


def test_switches_show_waiting_for_the_interpreter() -> None:
    """C code that holds the interpreter's lock without using the CPU is not idle."""
    with python(KEEPS_THE_LOCK) as (_, process):
        time.sleep(0.1)
        first = node_processes.look(process)
        time.sleep(0.5)
        second = node_processes.look(process)
        assert first and second
        most = max(second.switches[each] - first.switches.get(each, 0) for each in second.switches)
        assert most / (second.at - first.at) > 50


@pytest.mark.parametrize("code", [SLEEPS, SPINS, DEAF])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_kill_is_certain(code: str, *, is_stopped: bool) -> None:
    """Also of a process that ignores signals or is stopped. A zombie counts as gone."""
    with python(code) as (child, process):
        if is_stopped:
            child.send_signal(signal.SIGSTOP)
        assert node_processes.kill(process)
        assert state(process) in ("Z", "gone")
        assert child.wait() == -signal.SIGKILL
        assert state(process) == "gone"
        assert node_processes.kill(process), "it is gone already"


def test_a_kill_is_certain_without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, the process is checked before its number is used."""

    def missing(*_: Any) -> int:
        raise OSError

    monkeypatch.setattr(os, "pidfd_open", missing)
    with python(SLEEPS) as (child, process):
        assert node_processes.kill(process)
        assert child.wait() == -signal.SIGKILL


def test_a_reused_process_number_is_not_hit() -> None:
    """Another process of that number is neither seen, nor signalled, nor killed."""
    with python(CATCHES) as (child, process):
        other = Process(process.pid, process.started - 1)
        assert node_processes.look(other) is None
        assert node_processes.kill(other)
        assert not node_processes.signal(other, signal.SIGUSR1)
        assert child.poll() is None


FAMILY = """
import os, subprocess, sys, time
from koco.runner.process.identity import lead_process_group
lead_process_group("r1")
forked = os.fork()
if not forked:
    time.sleep(60)
own = subprocess.Popen(["sleep", "60"])
other = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(forked, own.pid, other.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("is_known", [False, True])
def test_a_runners_children_end_with_it(*, is_known: bool) -> None:
    """Forked, executed, in another session; also if the runner has died before."""
    child = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    offspring = [identify(int(pid)) for pid in child.stdout.readline().split()]
    runner = identify(child.pid)
    assert len(offspring) == 3
    if is_known:
        assert node_processes.end_family(runner, "r1")
    else:
        child.kill()
        child.wait()
        assert node_processes.end_offspring({"r1": runner}) == 3
    assert {state(each) for each in offspring} <= {"Z", "gone"}
    child.wait()
    child.stdout.close()


def test_other_processes_are_spared() -> None:
    """Neither this process's group nor a living process's belongs to a dead runner."""
    with python(SLEEPS) as (child, process):
        own = identify(os.getpgrp())
        assert node_processes.end_offspring({"r2": process, "r3": own, "r4": None}) == 0
        assert child.poll() is None


def test_sends_only_a_signal_that_has_a_handler() -> None:
    """Without a handler it would kill."""
    with python(CATCHES) as (child, process):
        assert not node_processes.signal(process, signal.SIGUSR2)
        assert node_processes.signal(process, signal.SIGUSR1)
        assert child.stdout
        assert child.stdout.readline() == "caught\n"


def test_a_call_on_this_node_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in a thread, and is given up if it takes too long."""
    monkeypatch.setattr(node_processes, "own_node", lambda: "here")

    async def body() -> None:
        assert await node_processes.on_node("here", identify) == identify()
        with pytest.raises(node_processes.NodeSilent, match=r"0\.05 s"):
            await node_processes.on_node("here", time.sleep, 0.2, timeout_s=0.05)

    asyncio.run(body())
