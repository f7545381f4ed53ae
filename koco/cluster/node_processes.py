"""Inspect, signal and kill processes on the cluster's nodes from outside.

A process can only report on itself while it works. These functions read /proc and send signals, so
they can also inspect and end a process that is stopped. They work on the node on which they are
called. `on_node` calls a function on another node.
"""

import asyncio
import functools
import os
import select
import signal as signals
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from koco.errors import KocoError
from koco.runner.process.identity import MARK, Process, environment, fields, identify, is_same

T = TypeVar("T")

#: How long the kernel may take to end a killed process (seconds). Only a process in uninterruptible
#: sleep takes longer, for example if it waits for a dead network disk.
_KILL_S = 5.0
#: Pause between two checks of a killed process if the kernel cannot notify us (seconds).
_LOOK_S = 0.02
#: Time limit of a call on a node (seconds). A call on another node includes the start of a process.
_CALL_S = 20.0

#: How much Ray's start time of a process may differ from the kernel's (seconds).
_SLACK_S = 10.0

#: Positions in /proc/PID/stat, counted after the name: process group, CPU time in user and kernel
#: mode, memory in pages.
_GROUP, _USER, _KERNEL, _PAGES = 2, 11, 12, 21

#: States of a process that is gone, or whose parent has not collected its entry yet.
_GONE = "ZXx"
#: States of a process that a signal has stopped, and of one that a debugger holds.
_STOPPED = "T"
_TRACED = "t"

#: Runs calls on this node. It has many threads because a kill may wait for seconds, and other calls
#: must not wait for its thread.
_threads = ThreadPoolExecutor(64, thread_name_prefix="koco-processes")


class NodeSilent(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """A node did not do what it was asked in time, or is lost."""

    code = "node_silent"


class Sighting(msgspec.Struct, frozen=True):
    """The state of a process at one moment."""

    #: The kernel's letter: `R` runs, `S` sleeps, `D` waits in the kernel, `T` is stopped, …
    state: str
    #: The time of the observation (monotonic seconds of its node).
    at: float
    #: CPU time that all its threads together have used so far (seconds).
    cpu_s: float
    rss_bytes: int
    #: The number of voluntary context switches of each thread so far, by the thread's id.
    switches: dict[int, int] = {}
    #: How long each thread has been ready to run so far and got no processor (seconds), by its id.
    delays_s: dict[int, float] = {}
    #: The number of threads that run or are ready to, and that wait in the kernel, as for a disk.
    running: int = 0
    waiting: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether it has ended and only its entry is left."""
        return self.state in _GONE

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it. It does not run until another signal continues it."""
        return self.state == _STOPPED

    @property
    def is_traced(self) -> bool:
        """Whether a debugger holds it."""
        return self.state == _TRACED


def look(process: Process) -> Sighting | None:
    """Return the state of a process of this node, or None if it is gone.

    Raises:
        KocoError: this system has no /proc.
    """
    _require_proc()
    try:
        found = fields(process.pid)
        if not is_same(process):
            return None
        tick = os.sysconf("SC_CLK_TCK")
        threads = _threads_of(process.pid)
        return Sighting(
            state=found[0],
            at=time.monotonic(),
            cpu_s=(int(found[_USER]) + int(found[_KERNEL])) / tick,
            rss_bytes=int(found[_PAGES]) * os.sysconf("SC_PAGE_SIZE"),
            switches={thread: count for thread, (_, count) in threads.items()},
            delays_s={thread: _delay_s(process.pid, thread) for thread in threads},
            running=sum(state == "R" for state, _ in threads.values()),
            waiting=sum(state == "D" for state, _ in threads.values()),
        )
    except (OSError, IndexError):
        return None


def kill(process: Process, *, after_s: float = 0.0, within_s: float = _KILL_S) -> bool:
    """End a process of this node reliably. Return whether it is gone; a zombie counts as gone.

    The process first has `after_s` seconds to end by itself.
    """
    if not is_same(process):
        return True
    try:
        opened = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    except (OSError, AttributeError):  # not Linux, or a sandbox without the call
        return _kill_by_number(process, after_s, within_s)
    try:
        if not is_same(process):
            return True  # another process got the number between the two checks
        if after_s and _has_ended(opened, after_s):
            return True
        signals.pidfd_send_signal(opened, signals.SIGKILL)
        return _has_ended(opened, within_s)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(opened)


def end_family(
    process: Process, mark: str, *, after_s: float = 0.0, within_s: float = _KILL_S
) -> bool:
    """End a runner's process like `kill`, with the same result, then the processes it started.

    `mark` is the runner's id. The processes that it started are in its process group or carry the
    mark in their environment.
    """
    is_gone = kill(process, after_s=after_s, within_s=within_s)
    end_offspring({mark: process})
    return is_gone


def end_offspring(runners: dict[str, Process | None]) -> int:
    """End the processes that runners left behind. Return the number of processes.

    `runners` has the runners' processes by id. Without its process, which must have been there a
    moment ago, only the marked processes of a runner are found, and not those that it forked.
    """
    found = 0
    # The kernel does not reuse a number while a process group has it. So if a process with the
    # runner's number exists again, both it and its group are new.
    groups = {each.pid: each for each in runners.values() if each and _has_vanished(each)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            each = identify(int(folder.name))
            group = int(fields(each.pid)[_GROUP])
            is_marked = environment(each.pid).get(MARK, "") in runners
        except (OSError, IndexError):
            continue  # it ended meanwhile, or belongs to another user
        is_forked = group in groups and each.started >= groups[group].started
        if (is_marked or is_forked) and each.pid != os.getpid():
            found += kill(each)
    return found


def _has_vanished(process: Process) -> bool:
    return _state(Process(process.pid)) in (None, *_GONE)


def signal(process: Process, number: int) -> bool:
    """Send a signal to a process of this node if it has a handler. Return whether it was sent.

    Most signals kill a process without a handler.
    """
    if not (is_same(process) and catches(process.pid, number)):
        return False
    try:
        os.kill(process.pid, number)
    except OSError:
        return False
    return True


def catches(pid: int, number: int) -> bool:
    """Return whether a process of this node has a handler for a signal."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) >> (number - 1) & 1)


async def on_node(
    node_id: str, function: Callable[..., T], *args: Any, timeout_s: float = _CALL_S, **more: Any
) -> T:
    """Call a function on a node and return its result.

    On this node it runs in a thread, on another node in a Ray task. The task pickles the function,
    arguments and result, so the function must be importable from koco.

    Raises:
        NodeSilent: no answer within `timeout_s`, or the node is lost.
    """
    bound = functools.partial(function, *args, **more)
    call = _here(bound) if node_id in ("", own_node()) else _run_there(node_id, bound)
    try:
        return await asyncio.wait_for(call, timeout_s)
    except TimeoutError as exc:
        message = f"node {node_id[:8]} did not answer within {timeout_s:g} s"
        raise NodeSilent(message) from exc


@functools.cache
def own_node() -> str:
    """Return the id of this process's node."""
    return str(ray.get_runtime_context().get_node_id())


async def _here(function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function)


async def _run_there(node_id: str, function: Callable[[], T]) -> T:
    task = ray.remote(_call).options(
        num_cpus=0,
        max_retries=0,
        name=f"koco:{getattr(function, 'func', function).__name__}",
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
    )
    reference = await asyncio.to_thread(task.remote, function)
    try:
        return await reference  # type: ignore[no-any-return]
    except RayError as exc:
        raise NodeSilent(f"node {node_id[:8]} could not be reached: {exc}") from exc


def _call(function: Callable[[], T]) -> T:
    return function()


def _has_ended(opened: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def _kill_by_number(process: Process, after_s: float, within_s: float) -> bool:
    try:
        if after_s and _vanishes(process, after_s):
            return True
        os.kill(process.pid, signals.SIGKILL)
        return _vanishes(process, within_s)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False


def _vanishes(process: Process, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        os.kill(process.pid, 0)
        if (seen := _state(process)) is None or seen in _GONE:
            return True
        time.sleep(_LOOK_S)
    return False


def _state(process: Process) -> str | None:
    """Return the kernel's letter, None if the process is gone, or `?` if there is no /proc."""
    if not _has_proc():
        return "?"
    try:
        return fields(process.pid)[0] if is_same(process) else None
    except OSError:
        return None


def _threads_of(pid: int) -> dict[int, tuple[str, int]]:
    """Return each thread's state and number of voluntary context switches, by thread id."""
    found: dict[int, tuple[str, int]] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = _status(pid, int(thread.name))
        if count := status.get("voluntary_ctxt_switches"):  # missing if the thread has ended
            found[int(thread.name)] = status["State"][:1], int(count)
    return found


def _delay_s(pid: int, thread: int) -> float:
    """Return how long a thread has waited for a processor; 0 if the kernel does not count it."""
    try:
        text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
        return int(text.split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _status(pid: int, thread: int | None = None) -> dict[str, str]:
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    parts = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in parts}


def find_worker(pid: int, began_s: float) -> Process | None:
    """Return the Ray worker of this node with a process id, or None if it is gone.

    `began_s` is the start time of its actor (epoch seconds). A process that began later has reused
    the id of one that is gone.
    """
    process = identify(pid)
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        boot = Path("/proc/stat").read_text(encoding="ascii")
    except OSError:
        return None
    booted_s = float(boot.partition("\nbtime ")[2].split()[0])
    started_s = booted_s + process.started / os.sysconf("SC_CLK_TCK")
    if not title.startswith(b"ray::") or started_s > began_s + _SLACK_S:
        return None
    return process


def kill_leftovers(runners: dict[str, tuple[int, float]]) -> int:
    """End the remaining processes of runners that have ended. Return the number of processes.

    `runners` has `(pid, began_s)` of each runner by its id; see `find_worker`.
    """
    found = {mark: find_worker(*each) for mark, each in runners.items()}
    count = sum(kill(process) for process in found.values() if process)
    return count + end_offspring(found)


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _require_proc() -> None:
    if not _has_proc():
        raise KocoError("processes can only be observed on systems with /proc, such as Linux")
