"""Identify processes of the operating system: a pid alone may be reused."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

import msgspec

#: The environment variable that names the runner in each process started from it.
MARK = "KOCO_RUNNER"

#: The exit code of a runner that fails because of a bug (`EX_SOFTWARE` of sysexits.h).
FAILED = 70

#: The position of `starttime` in /proc/PID/stat after the name (proc_pid_stat(5), field 22).
_STARTED = 19


class Process(msgspec.Struct, frozen=True):
    """A process of one node. `started` is in clock ticks since the node's boot, 0 if unknown."""

    pid: int
    started: int = 0


def fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the process's name: state, parent, …

    Raises `OSError` if there is no such process, or no /proc.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return text.rpartition(")")[2].split()  # the name itself may have spaces and brackets


def environment(pid: int) -> dict[str, str]:
    """Return the environment with which a process was started.

    Raises `OSError` if there is no such process, or it belongs to another user.
    """
    found: dict[str, str] = {}
    for entry in Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"):
        name, _, value = entry.partition("=")
        found.setdefault(name, value)
    return found


def identify(pid: int | None = None) -> Process:
    """Return the identity of a process on this node, by default of this one."""
    pid = pid or os.getpid()
    try:
        return Process(pid, int(fields(pid)[_STARTED]))
    except (OSError, IndexError):
        return Process(pid)


def is_same(process: Process) -> bool:
    """Return whether a process still exists, at least as a zombie."""
    try:
        return not process.started or int(fields(process.pid)[_STARTED]) == process.started
    except (OSError, IndexError):
        return False


def lead_process_group(runner: str) -> None:
    """Mark the processes that this one starts, so that they can be ended with it."""
    os.environ[MARK] = runner  # for those that leave the group
    if os.getpgrp() != os.getpid():
        with contextlib.suppress(OSError):  # it leads a session, and so a group, already
            os.setpgid(0, 0)


def restore_sigterm() -> None:
    """Let SIGTERM end this process, as it ends any other.

    Ray's handler waits for pending calls, and `hold` is pending for ever, in a runner and in the
    control plane: the process would never end, and a leader would keep its lease. Through C,
    because Python can set handlers only in the main thread.
    """
    ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(0))
