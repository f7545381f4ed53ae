"""Workers that died before Ray heard of them: found in the logs of their node.

A worker's interpreter may end before Ray's code runs in it: a module of the bundle has the name
of one that Ray imports, a `sitecustomize` fails, a package is broken. Ray waits a minute for such
a process, starts another one, and says nothing to whoever waits for the actor. The functions here
read what is on the node where they are called.
"""

import itertools
import re
import time
from pathlib import Path

import msgspec

from koco.runner.process import ray_logs
from koco.runner.process.identity import fields

#: As much of the end of each log is read (bytes).
_TAIL_BYTES = 1024 * 1024
#: So many lines of what a process wrote are told.
_LINES = 20
#: How long after its environment is made a worker is started, at the latest (seconds).
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
    """What became of the process that Ray started for a release: `said` is what it wrote."""

    pid: int
    is_alive: bool
    said: str = ""


def look(service: str, release: int, since_s: float) -> Birth | None:
    """Return what became of the newest worker of a release on this node; None if none is known.

    `since_s` (epoch seconds) is when its release began: what was before is not meant.
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
        return None  # nothing would tell whose process it is
    for pid, started in _started(folder):
        if at - 0.01 <= started <= at + _SOON_S:
            is_alive = _is_alive(pid)
            return Birth(pid, is_alive, "" if is_alive else _said(folder, at, _marks(line)))
    return None


def installing() -> str | None:
    """Return what installs packages on this node does now, as far as Ray's log says."""
    folder = ray_logs.folder()
    files = sorted(folder.glob("runtime_env_setup-*.log"), key=_mtime) if folder else []
    for line in reversed(_tail(files[-1]) if files else []):
        for text, said in _STEPS:
            if text in line:
                return said
    return None


def _started(folder: Path) -> list[tuple[int, float]]:
    found = filter(None, map(_STARTED.match, _tail(folder / "raylet.out")))
    return [(int(each[2]), _at(each[1])) for each in found]


def _said(folder: Path, since_s: float, marks: list[str]) -> str:
    """Return the last lines of what a process wrote that Ray had not taken over yet.

    The raylet's file has it, as whatever else of this node's died so.
    """
    file = folder / "raylet.err"
    if not file.exists() or _mtime(file) < since_s - _SOON_S:
        return ""
    lines = _tail(file)
    begins = [i for i, line in enumerate(lines) if line.startswith(("Traceback", "Fatal Python"))]
    blocks = [lines[i:j] for i, j in itertools.pairwise([*begins, len(lines)])]
    mine = [block for block in blocks if any(mark in line for line in block for mark in marks)]
    # Where no path of the release's is in any, the last lines are most probably its own.
    return "\n".join((mine[-1] if mine else lines)[-_LINES:]).strip()


def _marks(line: str) -> list[str]:
    """Return the names of the folders that a release's own code and packages lie in."""
    from ray._private.runtime_env.packaging import get_local_dir_from_uri

    found = _BUNDLE.search(line)
    return [get_local_dir_from_uri(found[1], "/").name] if found else []


def _seconds(line: str) -> float:
    match = _AGENT.match(line)
    return _at(match[1]) if match else 0.0


def _at(stamp: str) -> float:
    """Return the seconds of a time in one of Ray's logs, which have the node's own time."""
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
