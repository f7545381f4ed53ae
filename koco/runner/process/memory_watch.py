"""Watch how much memory a runner and the processes that it started use, while it has work.

The kernel's limit (`koco.sdk.process.memory`) counts one process and only its private memory. This
adds the rest: subprocesses and shared memory. It runs in a thread, so code that holds the
interpreter's lock delays it; such code runs into the kernel's limit.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from koco.runner.process import identity
from koco.sdk.process import memory
from koco.sdk.process.memory import Limit
from koco.sizes import MB

#: How often it measures (seconds): far from the limit, and near it.
_FAR_S, _NEAR_S = 0.5, 0.1
#: It measures more often from this part of the limit on.
_NEAR = 0.7
#: Ray's object store: it belongs to the node, not to the process that reads from it.
_PLASMA = "/dev/shm/plasma"
#: Open files in memory are only looked for if all such files use at least this much (bytes).
_MANY_FILES = 32 * MB
#: The environment variable that Ray gives to its workers.
_RAYLET = "RAY_RAYLET_PID"
#: The kernel's names for memory that processes share and that is not a file on a disk.
_SHARED = ("/dev/shm/", "/dev/zero", "/memfd:", "/SYSV")


class Watch:
    """Watches this process. Its thread calls `on_exceeded` once, with the message."""

    def __init__(self, limit: Limit, on_exceeded: Callable[[str], None]) -> None:
        self._limit = limit
        self._on_exceeded = on_exceeded
        self._has_work = threading.Event()
        threading.Thread(target=self._run, name="koco-memory", daemon=True).start()

    def begin(self) -> None:
        """Start measuring, because something runs here."""
        memory.adjust()
        self._has_work.set()

    def pause(self) -> None:
        """Stop measuring, because nothing runs here."""
        self._has_work.clear()

    def _run(self) -> None:
        while True:
            self._has_work.wait()
            used = estimate(os.getpid())
            if used > self._limit.size:
                used = measure(os.getpid())
            # Without the part of its own use that the kernel will soon refuse anyway.
            private = memory.private_size(memory.status_of(os.getpid()))
            used_soon = used - min(max(private - self._limit.size, 0), memory.slack())
            if used_soon > self._limit.size:
                self._on_exceeded(self._limit.exceeded_message(used))
                return
            if (message := self._shortage_of_node()) is not None:
                self._on_exceeded(message)
                return
            time.sleep(_NEAR_S if used > self._limit.size * _NEAR else _FAR_S)

    def _shortage_of_node(self) -> str | None:
        """Return a message if the node is short of memory and this process uses the most of it."""
        if not memory.is_short():
            return None
        pid, used = find_heaviest() or (0, 0)
        is_ours = pid == os.getpid() and memory.is_worth_ending(used)
        return memory.shortage_message(used) if is_ours else None


def estimate(pid: int) -> int:
    """Return an upper bound of the use of a process and its descendants (bytes).

    Shared memory is counted once for each process.
    """
    processes = list(process_tree(pid))
    found = sum(_open_files(processes).values())
    for each in processes:
        status = memory.status_of(each)
        found += memory.private_size(status) + status.get("RssShmem", 0)
    return found


def measure(pid: int) -> int:
    """Return the use of a process and its descendants (bytes). Shared memory is counted once."""
    processes = list(process_tree(pid))
    files = _open_files(processes)
    return sum(files.values()) + sum(_share_of(each, files) for each in processes)


def _open_files(processes: list[int]) -> dict[int, int]:
    """Return the files in memory that processes have open: inode to size (bytes).

    They use memory even if a process only writes to them and does not map them.
    """
    found: dict[int, int] = {}
    if memory.shared_size() < _MANY_FILES:
        return found
    for pid in processes:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # it was closed, or the process has ended
                    path = str(fd.readlink())
                    if path.startswith(_SHARED) and not path.startswith(_PLASMA):
                        about = fd.stat()
                        found[about.st_ino] = about.st_blocks * 512
    return found


def process_tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for child in _children(pid):
        yield from process_tree(child)


def kill_descendants(pid: int) -> None:
    """Kill all descendants of a process."""
    _, *children = process_tree(pid)
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)


def _share_of(pid: int, files: Container[int]) -> int:
    """Return a process's share of the memory that it uses (bytes).

    Leaves out Ray's objects, and files in memory with these inodes, which are counted in full
    elsewhere.
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
            counted = _counted_fields(path[0] if path else "", is_open=int(inode) in files)
        elif name in counted:
            found += int(rest[:-3]) * 1024
    return found


def _counted_fields(path: str, *, is_open: bool) -> tuple[str, ...]:
    """Return the fields of a mapping that count, which depend on the mapping's path."""
    if path.startswith("/") and not path.startswith(_SHARED):
        # Count only the changed parts of a file; the kernel can drop the rest.
        return ("Anonymous:", "Swap:")
    return () if is_open or path.startswith(_PLASMA) else ("Pss:", "Swap:")


def find_heaviest() -> tuple[int, int] | None:
    """Return the process of a koco service that uses most on this node, and how much (bytes).

    These processes are Ray's workers, as this one is; their subprocesses are included.
    """
    workers = _workers()
    if not workers:
        return None
    # Measure only the few likely ones exactly, because that takes a while.
    candidates = sorted(((estimate(pid), pid) for pid in workers), reverse=True)
    return max((measure(pid), pid) for _, pid in candidates[:3])[::-1]


def _workers() -> list[int]:
    """Return the workers of releases on this process's raylet.

    They need not be its children: a fork server starts most of them, and may have ended.
    """
    raylet, parents = os.environ.get(_RAYLET, ""), dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # it has ended, or is another user's
            environment = identity.environment(int(folder.name))
            is_ours = "KOCO_SERVICE" in environment and environment.get(_RAYLET, "") == raylet
            if is_ours and identity.MARK not in environment:
                parents[int(folder.name)] = int(identity.fields(int(folder.name))[1])
    return [pid for pid, parent in parents.items() if parent not in parents]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    if pid == os.getpid():
        try:  # one call, in place of a file for each of its threads
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return found
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # the thread has ended
                found += map(int, (thread / "children").read_text().split())
    return found
