"""The output of Ray's processes on this node outside of executions: it is in Ray's logs."""

import re
from pathlib import Path

#: How many lines are shown, from how much of the end of each log (bytes).
_LINES = 20
_TAIL_BYTES = 64 * 1024
#: Lines that Ray writes: its own markers, and the C++ frames of a crashed process.
_RAYS = re.compile(
    r":(job_id|actor_name|task_name):|\[[^]]*\] logging\.cc:|\*\*\* SIG"
    r"|\s*(PC: )?@ +(0x|\.\.\. and)"
)


def last_lines(pid: int) -> str:
    """Return the last lines of output of a worker on this node; empty if there are none."""
    return last_lines_in(where, pid) if (where := folder()) is not None else ""


def folder() -> Path | None:
    """Return the folder of Ray's logs on this node."""
    from ray._private import worker

    node = worker._global_node
    return Path(node.get_logs_dir_path()) if node is not None else None


def last_lines_in(where: Path, pid: int) -> str:
    """Return the last lines of a worker's output, from the folder of the logs."""
    said: list[str] = []
    for ext in ("out", "err"):
        files = list(where.glob(f"worker-*-{pid}.{ext}"))
        if files:  # use the newest: the others are of earlier processes with the same pid
            newest = max(files, key=lambda file: file.stat().st_mtime)
            said += [line for line in tail(newest, _TAIL_BYTES) if not _RAYS.match(line)][-_LINES:]
    return "\n".join(said).strip()


def tail(file: Path, size_bytes: int) -> list[str]:
    """Return the lines at the end of a file. Raises `OSError` if the file cannot be read."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - size_bytes))
        return opened.read().decode(errors="replace").splitlines()
