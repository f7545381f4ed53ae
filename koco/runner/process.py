"""Which operating system's process something is: its number alone may be given out again."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

import msgspec

#: The environment variable that names the runner in each process that was started from it.
MARK = "KOCO_RUNNER"

#: The exit code of a runner that fails by itself (`EX_SOFTWARE` of sysexits.h).
FAILED = 70

#: Where `starttime` stands in /proc/PID/stat behind the name (proc_pid_stat(5), field 22).
_STARTED = 19


class Process(msgspec.Struct, frozen=True):
    """A process of one node. `started` is in clock ticks since the node's boot, 0 if unknown."""

    pid: int
    started: int = 0


def fields(pid: int) -> list[str]:
    """Return what /proc/PID/stat says behind the process's name: state, parent, …

    Raises:
        OSError: there is no such process, or no /proc.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()  # the name may have spaces and brackets of its own


def environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started.

    Raises:
        OSError: there is no such process, or it is somebody else's.
    """
    found: dict[str, str] = {}
    for entry in Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"):
        name, _, value = entry.partition("=")
        found.setdefault(name, value)
    return found


def identify(pid: int | None = None) -> Process:
    """Return what identifies a process that runs here, this one by default."""
    pid = pid or os.getpid()
    try:
        return Process(pid, int(fields(pid)[_STARTED]))
    except (OSError, IndexError):
        return Process(pid)


def is_same(process: Process) -> bool:
    """Say whether a process is still there, as a zombie at least."""
    try:
        return not process.started or int(fields(process.pid)[_STARTED]) == process.started
    except (OSError, IndexError):
        return False


def lead_offspring(runner: str) -> None:
    """Make what this process starts known as its own, so that it can be ended with it."""
    os.environ[MARK] = runner  # for those that leave the group
    if os.getpgrp() != os.getpid():
        with contextlib.suppress(OSError):  # it leads a session: then it leads a group, too
            os.setpgid(0, 0)


def die_of_sigterm() -> None:
    """Have SIGTERM end this process, as it ends any.

    Ray's handler waits for the calls that are under way, and `hold` is under way for ever: the
    process would take nothing new and never end. By C, as Python sets handlers in the main thread
    only.
    """
    ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(0))
