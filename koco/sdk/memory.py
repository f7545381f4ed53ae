"""How much memory this process may use, and what is told of it when it wants more.

The limit is the kernel's own (`RLIMIT_DATA`): whatever allocates beyond it is refused at once,
which in Python is a `MemoryError` at the line that asked. It counts what is private to one
process; `koco.runner.watch` looks after subprocesses and shared memory.

Only the standard library: this is imported by every process of a release.
"""

import contextlib
import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MB = 1024 * 1024

#: The environment variable with the limit of a release's processes (MB); none for the default.
VARIABLE = "KOCO_MEMORY_MB"
#: What a process may use of its node's memory where the manifest does not say.
SHARE = 0.8
#: What a thread reserves (bytes).
_STACK = 8 * MB
#: What is added to the limit while koco tells that it was reached (bytes).
_SPARE = 64 * MB

#: The environment variables of Ray's monitor: how often it looks (ms), and when it acts.
_MONITOR, _THRESHOLD = "RAY_memory_monitor_refresh_ms", "RAY_memory_usage_threshold"
#: From which part of a node's memory on Ray's monitor ends processes, by default.
_RAY_ENDS_AT = 0.95
#: How far ahead of that koco acts, and what a process has to use to be ended (parts of the node).
_AHEAD, _WORTH = 0.05, 0.05

#: Where a container's limit is: in the second version of cgroups, and in the first.
_CGROUP_MAX = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
_CGROUP_STAT = ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat")


#: The type of the `error` event of an execution that ran out of memory.
TYPE = "OutOfMemory"
#: How the cause begins with which a process ended that used too much.
CAUSE = "out of memory: it "


class MemoryExceeded(Exception):  # noqa: N818 - a fact, not a mistake of anybody's
    """A runner uses more memory than it may, and ends; the message is the cause."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a process may use (bytes)."""

    size: int
    #: Whether the manifest says so, and not koco's default.
    is_asked: bool

    def exceeded(self, used: int, *, more: str = "") -> str:
        """Say that it was not enough, after so many bytes."""
        allows = "`runner.memory_mb`" if self.is_asked else f"{SHARE:.0%} of its node's memory"
        return f"used {mb(used)} of the {mb(self.size)} that {allows} allows{more}"


#: The limit of this process, once it is set.
_limit: Limit | None = None
#: `RLIMIT_DATA` as it belongs to it (bytes).
_soft = 0


def mb(size: float) -> str:
    """Return a size in bytes as people read it."""
    return f"{size / MB:,.0f} MB"


def asked() -> Limit | None:
    """Return the limit of the release that this process is of (`VARIABLE`)."""
    text = os.environ.get(VARIABLE, "")
    return limit_of(int(text) if text.isdecimal() else None)


def limit_of(asked_mb: float | None) -> Limit | None:
    """Return the limit for a process of this node; None where nothing tells its memory."""
    if asked_mb:
        return Limit(int(asked_mb * MB), is_asked=True)
    total = node_total()
    return Limit(int(total * SHARE), is_asked=False) if total else None


def restrict(limit: Limit | None) -> None:
    """Have the kernel refuse this process, and what it starts, more than a limit."""
    global _limit
    _limit = limit
    if limit is None or "VmData" not in status_of(os.getpid()):
        return  # no Linux: nothing here can be limited that way
    adjust()
    start = threading._start_new_thread  # type: ignore[attr-defined]

    @functools.wraps(start)
    def start_adjusted(*args: Any) -> Any:
        adjust()  # each thread reserves a stack
        return start(*args)

    threading._start_new_thread = start_adjusted  # type: ignore[attr-defined]


def adjust() -> None:
    """Allow this process what it has reserved by now beyond its limit: the stacks of threads.

    The kernel counts what is reserved, used or not.
    """
    global _soft
    if _limit is not None:
        status = status_of(os.getpid())
        reserved = max(status.get("VmData", 0) - own(status), 0)
        _soft = reserved + _limit.size + slack()
        _set(_soft)


def slack() -> int:
    """Return how much a process may reserve at once (bytes): libraries start threads by the CPU."""
    return _SPARE + (os.cpu_count() or 1) * _STACK


def current() -> Limit | None:
    """Return the limit that this process has."""
    return _limit


def describe(exc: BaseException) -> dict[str, Any] | None:
    """Return type and message of an error where it says that memory was refused; else None."""
    name = type(exc).__name__
    if not isinstance(exc, MemoryError) and name != "OutOfMemoryError":
        return None
    if type(exc).__module__.startswith("ray.") or was_told(exc):
        said = _short(exc).removeprefix("MemoryError: ")
        return {"type": TYPE, "message": f"a Ray task or actor of it {said}"}
    limit = _limit
    if limit is None:
        return {"type": TYPE, "message": f"there was no more memory: {_short(exc)}"}
    spare()
    asked = f", and asked for more{_detail(exc)}"
    used = min(own(status_of(os.getpid())), limit.size)
    return {"type": TYPE, "message": limit.exceeded(used, more=asked)}


def was_told(exc: BaseException) -> bool:
    """Say whether an error comes from another process, which has said what it used."""
    return " allows, and asked for more" in str(exc)


def is_told(payload: Any) -> bool:
    """Say whether an `error` payload is of `describe` about this process."""
    return isinstance(payload, dict) and payload.get("type") == TYPE


def is_crowded() -> bool:
    """Say whether this process still holds most of what it may use."""
    return _limit is not None and own(status_of(os.getpid())) > _limit.size / 2


def spare() -> None:
    """Allow a little more, so that koco can tell what has happened; `restore` takes it back."""
    if _soft:
        _set(_soft + _SPARE)


def restore() -> None:
    """Take back what `spare` has allowed."""
    if _soft:
        _set(_soft)


def _set(soft: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _short(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else type(exc).__name__


def _detail(exc: BaseException) -> str:
    said = str(exc).strip()
    return f": {said.splitlines()[0]}" if said else ""


# what the kernel tells


def status_of(pid: int) -> dict[str, int]:
    """Return the sizes in /proc/PID/status (bytes, by name); nothing where it is gone."""
    found: dict[str, int] = {}
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * 1024
    return found


def own(status: dict[str, int]) -> int:
    """Return what of a process's memory is its own, and no file's (bytes)."""
    return status.get("RssAnon", 0) + status.get("VmSwap", 0)


def node_total() -> int:
    """Return this node's memory, or its container's limit where that is less; 0 if unknown."""
    total = _meminfo().get("MemTotal", 0)
    limit = _first_number(_CGROUP_MAX)
    return min(total, limit) if limit else total


def node_free() -> int:
    """Return what this node can still give (bytes), caches that it can drop included."""
    free = _meminfo().get("MemAvailable", 0)
    limit, used = _first_number(_CGROUP_MAX), _first_number(_CGROUP_USED)
    if limit and used and limit < node_total() + 1:
        free = min(free, limit - used + _droppable())
    return max(free, 0)


def in_files() -> int:
    """Return how much of this node's memory is in files and in what processes share (bytes)."""
    return _meminfo().get("Shmem", 0)


def is_short() -> bool:
    """Say whether this node has so little memory left that somebody has to give some back."""
    return node_free() < _reserve(node_total())


def is_worth(used: int) -> bool:
    """Say whether ending a process that uses so much helps a node that is short of memory."""
    return used > _WORTH * node_total()


def shortage(used: int) -> str:
    """Say of a process that uses so much that its node has little left."""
    left, total = mb(node_free()), mb(node_total())
    return f"used {mb(used)}, more than any other, when its node had {left} left of {total}"


@functools.cache
def _reserve(total: int) -> float:
    """Return what is to stay free (bytes).

    Where Ray's monitor looks as well, it must not come to act: it ends what can be started again
    first, the control plane among it, whoever uses the memory.
    """
    try:
        part = 1 - float(os.environ.get(_THRESHOLD, _RAY_ENDS_AT))
    except ValueError:
        part = 1 - _RAY_ENDS_AT
    if os.environ.get(_MONITOR) == "0":
        return part * total
    return part * total + min(max(_AHEAD * total, 512 * MB), total / 4)


def _droppable() -> int:
    """Return what of the container's use are files that need not be in memory (bytes)."""
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
