"""Which operating system's process something is: its number alone may be given out again."""

import os
from pathlib import Path

import msgspec

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
