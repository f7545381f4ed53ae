"""What a process of Ray's on this node wrote, outside of executions: in Ray's logs."""

import re
from pathlib import Path

#: So many lines are told, of so much of the end of each log (bytes).
_LINES = 20
_TAIL_BYTES = 64 * 1024
#: Lines that Ray writes: marks for itself, and the frames of its own C++ when a process crashes.
_RAYS = re.compile(
    r":(job_id|actor_name|task_name):|\[[^]]*\] logging\.cc:|\*\*\* SIG"
    r"|\s*(PC: )?@ +(0x|\.\.\. and)"
)


def last_lines(pid: int) -> str:
    """Return the last lines that a worker of this node wrote to its output; empty without any."""
    where = folder()
    return "" if where is None else last_lines_in(where, pid)


def folder() -> Path | None:
    """Return the folder of this node's logs of Ray."""
    from ray._private import worker

    node = worker._global_node
    return Path(node.get_logs_dir_path()) if node is not None else None


def last_lines_in(where: Path, pid: int) -> str:
    """Return them from the folder of the logs."""
    said: list[str] = []
    for ext in ("out", "err"):
        files = list(where.glob(f"worker-*-{pid}.{ext}"))
        if files:  # of several the newest is meant: the others' pid has been used again
            newest = max(files, key=lambda file: file.stat().st_mtime)
            said += [line for line in tail(newest, _TAIL_BYTES) if not _RAYS.match(line)][-_LINES:]
    return "\n".join(said).strip()


def tail(file: Path, size_bytes: int) -> list[str]:
    """Return the lines in the end of a file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - size_bytes))
        return opened.read().decode(errors="replace").splitlines()
