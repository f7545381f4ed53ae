"""Watches what a runner and the processes that it started use of memory, while it has work.

The kernel's limit (`koco.sdk.memory`) counts one process and what is private to it. This counts
the rest: subprocesses, and memory that is shared. It is a thread, so code that keeps the
interpreter to itself delays it; such code runs into the kernel's limit.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from koco.runner import process
from koco.sdk import memory
from koco.sdk.memory import Limit

#: How often it looks (seconds): far from the limit, and near it.
_FAR_S, _NEAR_S = 0.5, 0.1
#: From which part of the limit on it looks more often.
_NEAR = 0.7
#: Ray's store of objects: the node's, not the process's that reads from it.
_PLASMA = "/dev/shm/plasma"
#: From how much memory in files on those that are open are looked for (bytes).
_MANY_FILES = 32 * memory.MB
#: How the kernel calls what processes share that is no file on a disk.
_SHARED = ("/dev/shm/", "/dev/zero", "/memfd:", "/SYSV")


class Watch:
    """Looks after this process; `on_exceeded` is called once, from the thread, with what to say."""

    def __init__(self, limit: Limit, on_exceeded: Callable[[str], None]) -> None:
        self._limit = limit
        self._on_exceeded = on_exceeded
        self._has_work = threading.Event()
        threading.Thread(target=self._run, name="koco-memory", daemon=True).start()

    def begin(self) -> None:
        """Look from now on: something runs here."""
        memory.adjust()
        self._has_work.set()

    def pause(self) -> None:
        """Look no longer: nothing runs here."""
        self._has_work.clear()

    def _run(self) -> None:
        while True:
            self._has_work.wait()
            used = roughly(os.getpid())
            if used > self._limit.size:
                used = exactly(os.getpid())
            if used - self._refused_anyway() > self._limit.size:
                self._on_exceeded(self._limit.exceeded(used))
                return
            if (said := self._is_too_much_for_the_node()) is not None:
                self._on_exceeded(said)
                return
            time.sleep(_NEAR_S if used > self._limit.size * _NEAR else _FAR_S)

    def _refused_anyway(self) -> int:
        """Return what of this process's use the kernel is about to refuse by itself (bytes)."""
        private = memory.own(memory.status_of(os.getpid()))
        return min(max(private - self._limit.size, 0), memory.slack())

    def _is_too_much_for_the_node(self) -> str | None:
        """Say what this process uses, where its node has little left and others use less."""
        if not memory.is_short():
            return None
        pid, used = heaviest() or (0, 0)
        return memory.shortage(used) if pid == os.getpid() and memory.is_worth(used) else None


def roughly(pid: int) -> int:
    """Return what a process and its descendants use at most (bytes): shared memory counts often."""
    processes = list(tree(pid))
    found = sum(_open_files(processes).values())
    for each in processes:
        status = memory.status_of(each)
        found += memory.own(status) + status.get("RssShmem", 0)
    return found


def exactly(pid: int) -> int:
    """Return what a process and its descendants use (bytes); what they share counts once."""
    processes = list(tree(pid))
    files = _open_files(processes)
    return sum(files.values()) + sum(_share_of(each, files) for each in processes)


def _open_files(processes: list[int]) -> dict[int, int]:
    """Return the files in memory that processes have open: inode and size (bytes).

    They take memory also where they are written to and not mapped.
    """
    found: dict[int, int] = {}
    if memory.in_files() < _MANY_FILES:
        return found
    for pid in processes:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # it is closed, or the process has ended
                    path = str(fd.readlink())
                    if path.startswith(_SHARED) and not path.startswith(_PLASMA):
                        about = fd.stat()
                        found[about.st_ino] = about.st_blocks * 512
    return found


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for child in _children(pid):
        yield from tree(child)


def end_children(pid: int) -> None:
    """Kill what a process has started, and what that has."""
    _, *children = tree(pid)
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)


def _share_of(pid: int, files: Container[int]) -> int:
    """Return a process's part of the memory that it uses (bytes).

    Ray's objects do not count, nor do files in memory with these inodes: those count as a whole.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    found = 0
    counted: tuple[str, ...] = ()
    for line in lines:
        name, _, rest = line.partition(" ")
        if "-" in name:  # a mapping begins
            inode, *path = line.split(None, 5)[4:]
            counted = _counted(path[0] if path else "", is_open=int(inode) in files)
        elif name in counted:
            found += int(rest[:-3]) * 1024
    return found


def _counted(path: str, *, is_open: bool) -> tuple[str, ...]:
    """Return the lines of a mapping that count, by where it comes from."""
    if path.startswith("/") and not path.startswith(_SHARED):
        # Of a file only what was changed; the rest need not be in memory.
        return ("Anonymous:", "Swap:")
    return () if is_open or path.startswith(_PLASMA) else ("Pss:", "Swap:")


def heaviest() -> tuple[int, int] | None:
    """Return the process of a koco service that uses most on this node, and how much (bytes).

    Those are Ray's workers, beside which this one is; their subprocesses count with them.
    """
    workers = [pid for pid in _children(os.getppid()) if _is_of_a_service(pid)]
    if not workers:
        return None
    # Exactly only for the few that may be it: to look closely takes a while.
    candidates = sorted(((roughly(pid), pid) for pid in workers), reverse=True)
    return max((exactly(pid), pid) for _, pid in candidates[:3])[::-1]


def _is_of_a_service(pid: int) -> bool:
    try:
        return "KOCO_SERVICE" in process.environment(pid)
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                found += map(int, (thread / "children").read_text().split())
    return found
