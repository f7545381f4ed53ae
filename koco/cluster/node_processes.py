"""Processes on the cluster's nodes: looked at, signalled and killed from outside.

What a process says of itself needs the process to work. These functions read /proc and send
signals, so they also tell about a process that is stopped, and end it. They work on the node
where they are called; `on_node` calls a function on another one.
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

#: How long the kernel may take to end a killed process (seconds). Only one that waits in the
#: kernel without interruption, such as for a dead network disk, takes longer.
_KILL_S = 5.0
#: How often a killed process is looked at where the kernel cannot wake us (seconds).
_LOOK_S = 0.02
#: How long a call on a node may take (seconds); one elsewhere includes the start of a process.
_CALL_S = 20.0

#: By how much Ray's clock and the kernel's may differ over when a process began (seconds).
_SLACK_S = 10.0

#: Where in /proc/PID/stat, behind the name: CPU time used in user and kernel mode, memory in pages.
_GROUP, _USER, _KERNEL, _PAGES = 2, 11, 12, 21

#: Gone, or only an entry that its parent has not collected yet.
_GONE = "ZXx"
#: Stopped by a signal, or by a debugger, which lets it go on.
_STOPPED = "T"
_TRACED = "t"

#: For calls on this node: a kill may wait for seconds, and others must not wait for its thread.
_threads = ThreadPoolExecutor(64, thread_name_prefix="koco-processes")


class NodeSilent(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """A node did not do what it was asked in time, or is lost."""

    code = "node_silent"


class Sighting(msgspec.Struct, frozen=True):
    """What one look at a process gave."""

    #: The kernel's letter: `R` runs, `S` sleeps, `D` waits in the kernel, `T` is stopped, …
    state: str
    #: When it was looked at (monotonic seconds of its node).
    at: float
    #: CPU time that it has used so far, all threads together (seconds).
    cpu_s: float
    rss_bytes: int
    #: How often each thread has gone to sleep by itself so far, by the thread's id.
    switches: dict[int, int] = {}
    #: How many threads run or want to, and how many wait in the kernel, such as for a disk.
    running: int = 0
    waiting: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, and only its entry is left."""
        return self.state in _GONE

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it: nothing of it runs until another one lets it."""
        return self.state == _STOPPED

    @property
    def is_traced(self) -> bool:
        """Whether a debugger holds it."""
        return self.state == _TRACED


def look(process: Process) -> Sighting | None:
    """Look at a process of this node; None where it is gone.

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
            running=sum(state == "R" for state, _ in threads.values()),
            waiting=sum(state == "D" for state, _ in threads.values()),
        )
    except (OSError, IndexError):
        return None


def kill(process: Process, *, after_s: float = 0.0, within_s: float = _KILL_S) -> bool:
    """End a process of this node for certain; return whether it is gone. A zombie is.

    It has `after_s` seconds to end by itself.
    """
    if not is_same(process):
        return True
    try:
        opened = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    except (OSError, AttributeError):  # no Linux, or a sandbox that does not know the call
        return _kill_by_number(process, after_s, within_s)
    try:
        if not is_same(process):
            return True  # the number was given out again between the two looks
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
    """End a runner's process like `kill`, then what was started from it and is still there.

    `mark` is the runner's id. What it started is in its process group, or has its mark.
    """
    is_gone = kill(process, after_s=after_s, within_s=within_s)
    end_offspring({mark: process})
    return is_gone


def end_offspring(runners: dict[str, Process | None]) -> int:
    """End what runners have left behind, given by their ids; return how many processes that was.

    Only with its process, if that was there a moment ago, is what it forked found.
    """
    found = 0
    # A number is not given out while there is a group of that number. So if there is such a process
    # again, it is another one, and so is its group.
    groups = {each.pid: each for each in runners.values() if each and _has_vanished(each)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            each = identify(int(folder.name))
            group = int(fields(each.pid)[_GROUP])
            is_marked = environment(each.pid).get(MARK, "") in runners
        except (OSError, IndexError):
            continue  # it ended meanwhile, or is somebody else's
        is_forked = group in groups and each.started >= groups[group].started
        if (is_marked or is_forked) and each.pid != os.getpid():
            found += kill(each)
    return found


def _has_vanished(process: Process) -> bool:
    return _state(Process(process.pid)) in (None, *_GONE)


def signal(process: Process, number: int) -> bool:
    """Send a signal to a process of this node that has a handler for it; return whether it was.

    Most signals kill a process that has none.
    """
    if not (is_same(process) and catches(process.pid, number)):
        return False
    try:
        os.kill(process.pid, number)
    except OSError:
        return False
    return True


def catches(pid: int, number: int) -> bool:
    """Say whether a process of this node has a handler for a signal."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) >> (number - 1) & 1)


async def on_node(
    node_id: str, function: Callable[..., T], *args: Any, timeout_s: float = _CALL_S, **more: Any
) -> T:
    """Call a function on a node and return its answer: in a thread here, in a Ray task elsewhere.

    Function, arguments and answer are pickled; the function must be importable from koco.

    Raises:
        NodeSilent: no answer within `timeout_s`, or the node is lost.
    """
    bound = functools.partial(function, *args, **more)
    call = _here(bound) if node_id in ("", own_node()) else _there(node_id, bound)
    try:
        return await asyncio.wait_for(call, timeout_s)
    except TimeoutError as exc:
        said = f"node {node_id[:8]} did not answer within {timeout_s:g} s"
        raise NodeSilent(said) from exc


@functools.cache
def own_node() -> str:
    """Return the id of the node where this process runs."""
    return str(ray.get_runtime_context().get_node_id())


async def _here(function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function)


async def _there(node_id: str, function: Callable[[], T]) -> T:
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
        raise NodeSilent(f"node {node_id[:8]} could not be asked: {exc}") from exc


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
    """Return the kernel's letter; None where it is gone, `?` where there is no /proc."""
    if not _has_proc():
        return "?"
    try:
        return fields(process.pid)[0] if is_same(process) else None
    except OSError:
        return None


def _threads_of(pid: int) -> dict[int, tuple[str, int]]:
    """Return each thread's state and how often it has gone to sleep by itself."""
    found: dict[int, tuple[str, int]] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = _status(pid, int(thread.name))
        if count := status.get("voluntary_ctxt_switches"):  # else it has ended meanwhile
            found[int(thread.name)] = status["State"][:1], int(count)
    return found


def _status(pid: int, thread: int | None = None) -> dict[str, str]:
    path = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    parts = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in parts}


def find_worker(pid: int, began_s: float) -> Process | None:
    """Return a Ray worker of this node by its number, where it is the one that was there then.

    `began_s` is when its actor began, in seconds since 1970: a process that began later has got
    the number of one that is gone.
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
    """End what is left of runners that have ended, each `(pid, began_s)` by its id.

    Returns how many processes that were.
    """
    found = {mark: find_worker(*each) for mark, each in runners.items()}
    count = sum(kill(process) for process in found.values() if process)
    return count + end_offspring(found)


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _require_proc() -> None:
    if not _has_proc():
        raise KocoError("processes can only be looked at where there is a /proc, as on Linux")
