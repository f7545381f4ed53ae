"""A Ray head on this machine: its ports, its environment, its processes.

Standard library and psutil only: the command line uses it, and starts Ray in a
subprocess (`koco.bootstrap.driver`). The processes carry a mark in their environment, by
which they, and nothing else, are found again and stopped.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from koco.client import context_file

if TYPE_CHECKING:
    import psutil

#: The environment variable that marks every process of a cluster that `koco up` started.
MARK = "KOCO_CLUSTER"

#: What listens where by default. `api` is koco's; the others are Ray's own defaults.
PORTS = {"api": 8400, "gcs": 6379, "dashboard": 8265, "client": 10001, "agent": 52365}

#: The names of a head's own processes.
GCS, RAYLET = "gcs_server", "raylet"
#: The environment variable that says how often Ray's monitor looks at the memory (ms), 0 for never.
_MONITOR = "RAY_memory_monitor_refresh_ms"
#: How long Ray's processes may take to end by themselves (seconds).
_TERM_S = 5.0
#: Where Ray puts its sockets and logs, unless RAY_TMPDIR says otherwise.
_TEMPORARY = Path("/tmp")
#: How long another `koco up` on this machine may take to start its Ray (seconds).
_TURN_S = 60.0
_LOOK_S = 0.05


def mark_of(home: Path) -> str:
    """Return the mark of what is started for a home directory; a lost context loses nothing."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def choose_ports(remembered: dict[str, int], *, free: bool = False) -> dict[str, int]:
    """Return a port for each service: the remembered or default one, or a free one if taken."""
    with contextlib.ExitStack() as held:  # until all are chosen: none is chosen twice
        return {
            name: _choose(0 if free else int(remembered.get(name, default)), held)
            for name, default in PORTS.items()
        }


def _choose(wanted: int, held: contextlib.ExitStack) -> int:
    for port in (wanted, 0):
        probe = held.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextlib.contextmanager
def turn() -> Iterator[int]:
    """Wait until nobody on this machine starts Ray; give a descriptor, whose unlocking ends that.

    Between choosing ports and listening there, another user's `koco up` could take them. Whoever
    holds this up for too long is not waited for: then Ray says that a port is taken.
    """
    # The folder itself: everybody may open it, and nobody has to make a file for it.
    folder = os.open(_TEMPORARY, os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + _TURN_S
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOOK_S)
        yield folder
    finally:
        os.close(folder)


def joining_environment(address: str) -> dict[str, str]:
    """Return the environment in which a running Ray is joined."""
    env = dict(os.environ)
    if "RAY_ADDRESS" in env:  # Ray takes white space around it for a part of it
        env["RAY_ADDRESS"] = env["RAY_ADDRESS"].strip()
    if not address.startswith("127."):
        return env
    # Ray replaces 127.0.0.1 by the machine's address (`resolve_ip_for_localhost`), and
    # then waits for a node there in vain, unless told that this is a cluster of one
    # machine, as on Windows and macOS.
    return {**env, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def starting_environment(mark: str) -> dict[str, str]:
    """Return the environment in which Ray is started, and joined by who started it."""
    env = joining_environment("127.0.0.1")
    # It names another cluster, which Ray's processes would take for theirs.
    env.pop("RAY_ADDRESS", None)
    return {
        **env,
        MARK: mark,
        # Else the titles that Ray gives to its agents are written over their environment, and the
        # mark with it: an agent outlives a raylet that was killed, and keeps its ports.
        "SPT_NOENV": "1",
        "RAY_TMPDIR": os.environ.get("RAY_TMPDIR") or str(_folder(mark)),
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
        # pip tries again by itself; two more rounds make a misspelt name take 30 s.
        # Where memory gets short, Ray's monitor ends what it can start again first: the control
        # plane. Here koco looks after it by itself (`koco.cluster.memory_guard`).
        _MONITOR: os.environ.get(_MONITOR, "0"),
        "RUNTIME_ENV_RETRY_TIMES": os.environ.get("RUNTIME_ENV_RETRY_TIMES", "1"),
    }


def _folder(mark: str) -> Path:
    """Return the folder for Ray's sockets and logs of one home, for its user only.

    Ray's own default, which all share, belongs to the user who was first. It has to be short: a
    socket's path has 107 characters at most, and Ray's names take up most of them.
    """
    path = _TEMPORARY / f"koco-{mark}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="koco-", dir=_TEMPORARY))  # the name was taken by others


def ensure_token() -> None:
    """Make Ray's token where there is none, as Ray does for clusters of its own.

    Raises:
        OSError: it cannot be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else context_file.expanded("~/.ray/auth_token")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))


def is_running(mark: str) -> bool:
    """Say whether the head with that mark runs."""
    return any(name == GCS for _, name in marked(mark))


def stop(mark: str, *, term_s: float = _TERM_S) -> int:
    """End every process with that mark; return how many there were.

    They have `term_s` seconds to end by themselves.
    """
    import psutil

    processes = marked(mark)
    folders = {folder for process, _ in processes for folder in _listeners(process)}
    # The others sign off with the GCS and take long over it where it is gone: it goes last.
    first = [process for process, name in processes if name != GCS]
    for process in first:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(first, timeout=term_s)
    # The rest, and what was started in the meantime.
    rest = [process for process, _ in marked(mark)]
    for process in rest:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(rest, timeout=_TERM_S)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(processes)


def _listeners(process: "psutil.Process") -> set[Path]:
    """Return the temporary folders in which a process listens.

    Ray's dashboard starts its parts by `multiprocessing`, which makes one and removes it
    when it ends by itself: stopped, it leaves it behind.
    """
    import psutil

    try:
        paths = [Path(str(each.laddr)) for each in process.net_connections("unix") if each.laddr]
    except (psutil.Error, OSError):
        return set()
    return {path.parent for path in paths if path.parent.name.startswith("pymp-")}


def marked(mark: str) -> "list[tuple[psutil.Process, str]]":
    """Return the processes with a mark, and their names."""
    import psutil

    found: list[tuple[psutil.Process, str]] = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append((process, process.name()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone, a zombie, or another user's: none of ours
    return found
