"""Limit this process's memory, and describe what happened if it wants more.

The limit is the kernel's own (`RLIMIT_DATA`): an allocation beyond it fails at once, which in
Python raises a `MemoryError` at the responsible line. The kernel counts the private memory of one
process; `koco.runner.process.memory_watch` covers subprocesses and shared memory.

Standard library only: every process of a release imports this module.
"""

import contextlib
import functools
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from koco.sizes import MB

#: The environment variable with the limit of a release's processes (MB); empty for the default.
VARIABLE = "KOCO_MEMORY_MB"
#: The share of its node's memory that a process may use if the manifest sets no limit.
SHARE = 0.8
#: The size that a thread reserves (bytes).
_STACK = 8 * MB
#: Added to the limit while koco reports that it was reached (bytes).
_SPARE = 64 * MB

#: The environment variables of Ray's memory monitor: its interval (ms), and its threshold.
_MONITOR, _THRESHOLD = "RAY_memory_monitor_refresh_ms", "RAY_memory_usage_threshold"
#: Ray's monitor ends processes from this share of a node's memory on, by default.
_RAY_ENDS_AT = 0.95
#: How far below that koco acts, and the least use that makes ending a process worthwhile (shares).
_AHEAD, _WORTH = 0.05, 0.05

#: The files with a container's limit: in the second version of cgroups, and in the first.
_CGROUP_MAX = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
_CGROUP_STAT = ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat")


#: The lines that are read from a process's status, and a size that all of it fits into (bytes).
_SIZE = re.compile(rb"^(VmData|VmSwap|RssAnon|RssShmem):\s*(\d+) kB$", re.MULTILINE)
_STATUS_BYTES = 64 * 1024

#: The type of the `error` event of an execution that ran out of memory.
TYPE = "OutOfMemory"
#: The beginning of the cause if a process used too much and was ended.
CAUSE = "out of memory: it "


class MemoryExceeded(Exception):  # noqa: N818 - a fact, not an error in the code
    """A runner uses more memory than its limit, and ends. The message is the cause."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A process's limit (bytes)."""

    size: int
    #: Whether the manifest sets it; otherwise it is koco's default.
    is_asked: bool

    def exceeded_message(self, used: int, *, more: str = "") -> str:
        """Return a message that the limit was exceeded by a process that used `used` bytes."""
        allows = "`runner.memory_mb`" if self.is_asked else f"{SHARE:.0%} of its node's memory"
        return f"used {mb(used)} of the {mb(self.size)} that {allows} allows{more}"


#: The limit of this process, once it is set.
_limit: Limit | None = None
#: The value of `RLIMIT_DATA` for that limit (bytes).
_soft = 0


def mb(size: float) -> str:
    """Return a size in bytes in a form for people."""
    return f"{size / MB:,.0f} MB"


def limit_from_environment() -> Limit | None:
    """Return the limit from this process's environment (`VARIABLE`)."""
    text = os.environ.get(VARIABLE, "")
    return limit_of(int(text) if text.isdecimal() else None)


def limit_of(asked_mb: float | None) -> Limit | None:
    """Return the limit for a process of this node; None if the node's memory is unknown."""
    if asked_mb:
        return Limit(int(asked_mb * MB), is_asked=True)
    total = node_total()
    return Limit(int(total * SHARE), is_asked=False) if total else None


def restrict(limit: Limit | None) -> None:
    """Make the kernel limit the memory of this process and of those that it starts."""
    global _limit
    _limit = limit
    if limit is None or "VmData" not in status_of(os.getpid()):
        return  # not Linux: memory cannot be limited like this
    adjust()
    start = threading._start_new_thread  # type: ignore[attr-defined]

    @functools.wraps(start)
    def start_adjusted(*args: Any) -> Any:
        adjust()  # each thread reserves a stack
        return start(*args)

    threading._start_new_thread = start_adjusted  # type: ignore[attr-defined]


def adjust() -> None:
    """Raise the kernel's limit by what this process has only reserved, such as threads' stacks.

    The kernel counts reserved memory, used or not.
    """
    global _soft
    if _limit is not None:
        status = status_of(os.getpid())
        reserved = max(status.get("VmData", 0) - private_size(status), 0)
        _soft = reserved + _limit.size + slack()
        _set(_soft)


@functools.cache
def slack() -> int:
    """Return how much a process may reserve at once (bytes): libraries start a thread per CPU."""
    return _SPARE + (os.cpu_count() or 1) * _STACK


def current() -> Limit | None:
    """Return this process's limit."""
    return _limit


def describe(exc: BaseException) -> dict[str, Any] | None:
    """Return the type and message of an error that means refused memory; None for others."""
    name = type(exc).__name__
    if not isinstance(exc, MemoryError) and name != "OutOfMemoryError":
        return None
    if type(exc).__module__.startswith("ray.") or has_message(exc):
        said = _last_line(exc).removeprefix("MemoryError: ")
        return {"type": TYPE, "message": f"a Ray task or actor of it {said}"}
    limit = _limit
    if limit is None:
        return {"type": TYPE, "message": f"there was no more memory: {_last_line(exc)}"}
    allow_spare()
    said = str(exc).strip()
    asked = f", and asked for more: {said.splitlines()[0]}" if said else ", and asked for more"
    used = min(private_size(status_of(os.getpid())), limit.size)
    return {"type": TYPE, "message": limit.exceeded_message(used, more=asked)}


def has_message(exc: BaseException) -> bool:
    """Return whether an error comes from another process, and already has koco's message."""
    return " allows, and asked for more" in str(exc)


def is_out_of_memory(payload: Any) -> bool:
    """Return whether an `error` payload is about memory (see `describe`)."""
    return isinstance(payload, dict) and payload.get("type") == TYPE


def is_crowded() -> bool:
    """Return whether this process still uses most of its limit."""
    return _limit is not None and private_size(status_of(os.getpid())) > _limit.size / 2


def allow_spare() -> None:
    """Raise the limit a little, so that koco can report what happened; `restore` undoes it."""
    if _soft:
        _set(_soft + _SPARE)


def restore() -> None:
    """Undo `allow_spare`."""
    if _soft:
        _set(_soft)


def _set(soft: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _last_line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else type(exc).__name__


# facts from the kernel


def status_of(pid: int) -> dict[str, int]:
    """Return sizes in /proc/PID/status (bytes, by name); empty if the process is gone.

    Each launch calls this, and so does each new thread, so it has to be fast.
    """
    try:
        fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        text = os.read(fd, _STATUS_BYTES)
    except OSError:
        return {}
    finally:
        os.close(fd)
    return {name.decode(): int(size) * 1024 for name, size in _SIZE.findall(text)}


def private_size(status: dict[str, int]) -> int:
    """Return the memory of a process that is private and not backed by a file (bytes)."""
    return status.get("RssAnon", 0) + status.get("VmSwap", 0)


def node_total() -> int:
    """Return this node's memory, or its container's limit if that is less; 0 if unknown."""
    total = _meminfo().get("MemTotal", 0)
    limit = _first_number(_CGROUP_MAX)
    return min(total, limit) if limit else total


def node_free() -> int:
    """Return how much memory this node has left (bytes), including caches that it can drop."""
    free = _meminfo().get("MemAvailable", 0)
    limit, used = _first_number(_CGROUP_MAX), _first_number(_CGROUP_USED)
    if limit and used and limit < node_total() + 1:
        free = min(free, limit - used + _droppable())
    return max(free, 0)


def shared_size() -> int:
    """Return how much of this node's memory is shared, or in files in memory (bytes)."""
    return _meminfo().get("Shmem", 0)


def is_short() -> bool:
    """Return whether this node has so little memory left that a process has to end."""
    return node_free() < _reserve(node_total())


def is_worth_ending(used: int) -> bool:
    """Return whether ending a process that uses this much would help a node short of memory."""
    return used > _WORTH * node_total()


def shortage_message(used: int) -> str:
    """Return a message about a process that uses this much on a node with little left."""
    left, total = mb(node_free()), mb(node_total())
    return f"used {mb(used)}, more than any other, when its node had {left} left of {total}"


@functools.cache
def _reserve(total: int) -> float:
    """Return how much must stay free (bytes).

    If Ray's monitor is active, koco must act before it does. Ray's monitor first ends processes
    that can be restarted, the control plane among them, no matter which process uses the memory.
    """
    try:
        part = 1 - float(os.environ.get(_THRESHOLD, _RAY_ENDS_AT))
    except ValueError:
        part = 1 - _RAY_ENDS_AT
    if os.environ.get(_MONITOR) == "0":
        return part * total
    return part * total + min(max(_AHEAD * total, 512 * MB), total / 4)


def _droppable() -> int:
    """Return how much of the container's use is files that the kernel could drop (bytes)."""
    for path in _CGROUP_STAT:
        with contextlib.suppress(OSError, ValueError):
            rows = (line.split() for line in Path(path).read_text().splitlines())
            stat = {name: int(value) for name, value in rows}
            names = ("total_inactive_file", "total_active_file")
            if names[0] not in stat:
                names = ("inactive_file", "active_file")
            return sum(stat.get(name, 0) for name in names)
    return 0


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    rows = (line.partition(":") for line in lines if line.endswith(" kB"))
    return {name: int(value[:-3]) * 1024 for name, _, value in rows}


def _first_number(paths: tuple[str, ...]) -> int:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            return int(Path(path).read_text())
    return 0
