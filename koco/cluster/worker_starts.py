"""Find workers that died before they reached Ray, from the logs of their node.

A worker's interpreter may end before Ray's code runs in it, for example because a module of the
bundle has the name of one that Ray imports, a `sitecustomize` fails or a package is broken. Ray
waits a minute for such a process, then starts another one, and reports nothing to the caller that
waits for the actor. These functions read the logs of the node on which they are called.
"""

import itertools
import re
import time
from pathlib import Path

import msgspec

from koco.runner.process import ray_logs
from koco.runner.process.identity import fields

#: How much of the end of each log is read (bytes).
_TAIL_BYTES = 1024 * 1024
#: How many lines of a process's output are reported.
_LINES = 20
#: The longest time between the creation of an environment and the start of its worker (seconds).
_SOON_S = 1.0

_AGENT = re.compile(r"^(\S+ \S+)\t.*(?:Successfully created runtime env|created successfully)")
_STARTED = re.compile(r"^\[(\S+ \S+) .*Started worker process with pid (\d+)")
_BUNDLE = re.compile(r'"py_modules": \["([^"]+)"')
_STEPS = (
    ("Cloning virtualenv", "a virtual environment is made"),
    ("Creating virtualenv", "a virtual environment is made"),
    ("Installing python requirements", "the installer runs"),
    ("Downloading package", "the bundle is fetched"),
)


class Birth(msgspec.Struct, frozen=True):
    """The state of the process that Ray started for a release. `said` is a dead one's output."""

    pid: int
    is_alive: bool
    said: str = ""


def look(service: str, release: int, since_s: float) -> Birth | None:
    """Return the state of a release's newest worker on this node, or None if none is known.

    `since_s` (epoch seconds) is the start of the release. Earlier workers are ignored.
    """
    folder = ray_logs.folder()
    if folder is None:
        return None
    made = [line for line in _tail(folder / "runtime_env_agent.log") if _AGENT.match(line)]
    times = [_seconds(line) for line in made]
    named = f'"KOCO_RELEASE": "{release}"', f'"KOCO_SERVICE": "{service}"'
    mine = [
        (at, line)
        for at, line in zip(times, made, strict=True)
        if at >= since_s and all(name in line for name in named)
    ]
    if not mine:
        return None
    at, line = mine[-1]
    if sum(abs(other - at) < _SOON_S for other in times) > 1 and not _marks(line):
        return None  # the process cannot be matched to a release
    for pid, started in _started(folder):
        if at - 0.01 <= started <= at + _SOON_S:
            is_alive = _is_alive(pid)
            return Birth(pid, is_alive, "" if is_alive else _output_of(folder, at, _marks(line)))
    return None


def installing() -> str | None:
    """Return the current step of package installation on this node, or None if unknown."""
    folder = ray_logs.folder()
    files = sorted(folder.glob("runtime_env_setup-*.log"), key=_mtime) if folder else []
    for line in reversed(_tail(files[-1]) if files else []):
        for text, step in _STEPS:
            if text in line:
                return step
    return None


def _started(folder: Path) -> list[tuple[int, float]]:
    found = filter(None, map(_STARTED.match, _tail(folder / "raylet.out")))
    return [(int(each[2]), _at(each[1])) for each in found]


def _output_of(folder: Path, since_s: float, marks: list[str]) -> str:
    """Return the last lines of the output of a process that died before it reached Ray.

    They are in the raylet's file, together with the output of all such processes of this node.
    """
    file = folder / "raylet.err"
    if not file.exists() or _mtime(file) < since_s - _SOON_S:
        return ""
    lines = _tail(file)
    begins = [i for i, line in enumerate(lines) if line.startswith(("Traceback", "Fatal Python"))]
    blocks = [lines[i:j] for i, j in itertools.pairwise([*begins, len(lines)])]
    mine = [block for block in blocks if any(mark in line for line in block for mark in marks)]
    # If no traceback has a path of the release, the last lines are most likely its output.
    return "\n".join((mine[-1] if mine else lines)[-_LINES:]).strip()


def _marks(line: str) -> list[str]:
    """Return the name of the folder with a release's code, to find it in tracebacks."""
    from ray._private.runtime_env.packaging import get_local_dir_from_uri

    found = _BUNDLE.search(line)
    return [get_local_dir_from_uri(found[1], "/").name] if found else []


def _seconds(line: str) -> float:
    match = _AGENT.match(line)
    return _at(match[1]) if match else 0.0


def _at(stamp: str) -> float:
    """Return the epoch seconds of a time stamp in Ray's logs, or 0 if it cannot be read.

    The logs use the node's local time.
    """
    try:
        whole, _, part = stamp.partition(",")
        return time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) + int(part or 0) / 1000
    except ValueError:
        return 0.0


def _is_alive(pid: int) -> bool:
    try:
        return fields(pid)[0] not in "ZX"
    except OSError:
        return False


def _mtime(file: Path) -> float:
    return file.stat().st_mtime


def _tail(file: Path) -> list[str]:
    try:
        return ray_logs.tail(file, _TAIL_BYTES)
    except OSError:
        return []
