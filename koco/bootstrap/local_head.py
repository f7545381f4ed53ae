"""A Ray head on this machine: its ports, its environment, its processes.

Standard library and psutil only, because the command line uses this module and starts Ray in a
subprocess (`koco.bootstrap.driver`). The head's processes carry a mark in their environment. koco
finds and stops exactly the processes with this mark.
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

import psutil

from koco.client import context_file

#: The environment variable that marks every process of a cluster that `koco up` started.
MARK = "KOCO_CLUSTER"

#: The default port of each service. `api` is koco's; the others are Ray's own defaults.
PORTS = {"api": 8400, "gcs": 6379, "dashboard": 8265, "agent": 52365}

#: The names of a head's own processes.
GCS, RAYLET = "gcs_server", "raylet"
#: The environment variable with the interval of Ray's memory monitor (ms); 0 turns it off.
_MONITOR = "RAY_memory_monitor_refresh_ms"
#: How long Ray's processes may take to end by themselves (seconds).
_TERM_S = 5.0
#: The parent folder of Ray's sockets and logs, unless RAY_TMPDIR is set.
_TEMPORARY = Path("/tmp")
#: How long another `koco up` on this machine may take to start its Ray (seconds).
_TURN_S = 60.0
_LOOK_S = 0.05


def mark_of(home: Path) -> str:
    """Return the mark of processes started for a home directory.

    It depends only on the path, so the processes can be found even if the context is lost.
    """
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def choose_ports(remembered: dict[str, int], *, free: bool = False) -> dict[str, int]:
    """Return a port for each service: the remembered or default one, or a free one if taken.

    `free` chooses free ports for all.
    """
    with contextlib.ExitStack() as held:  # all stay bound until the end, so none is chosen twice
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
    """Take the lock for starting Ray on this machine, and yield its descriptor.

    Unlocking the descriptor releases the lock. Without it, another user's `koco up` could take the
    chosen ports before Ray listens on them. The wait ends after `_TURN_S` even if the lock is still
    taken. Ray then reports a port that is in use.
    """
    # The folder itself is locked, because all users may open it and it needs no extra file.
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
    """Return the environment for joining a running Ray."""
    env = dict(os.environ)
    if "RAY_ADDRESS" in env:  # Ray does not strip white space
        env["RAY_ADDRESS"] = env["RAY_ADDRESS"].strip()
    if not address.startswith("127."):
        return env
    # Ray replaces 127.0.0.1 by the machine's address (`resolve_ip_for_localhost`) and then waits
    # for a node that never appears there. This variable makes it treat the cluster as one of a
    # single machine, as on Windows and macOS.
    return {**env, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def starting_environment(mark: str) -> dict[str, str]:
    """Return the environment for starting Ray, and for joining it from the process that did."""
    env = joining_environment("127.0.0.1")
    # RAY_ADDRESS names another cluster, and Ray's processes would use it as their own.
    env.pop("RAY_ADDRESS", None)
    return {
        **env,
        MARK: mark,
        # Otherwise Ray overwrites its agents' environment, and so the mark, with their titles. The
        # mark is needed because an agent outlives a killed raylet and keeps its ports.
        "SPT_NOENV": "1",
        "RAY_TMPDIR": os.environ.get("RAY_TMPDIR") or str(_folder(mark)),
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
        # When memory is short, Ray's monitor ends restartable processes first, and so the control
        # plane. Here koco guards the memory itself (`koco.cluster.memory_guard`).
        _MONITOR: os.environ.get(_MONITOR, "0"),
        # pip retries by itself. With two more rounds, a misspelt package name takes 30 s to fail.
        "RUNTIME_ENV_RETRY_TIMES": os.environ.get("RUNTIME_ENV_RETRY_TIMES", "1"),
    }


def _folder(mark: str) -> Path:
    """Return the folder for the sockets and logs of a home's Ray. Only its user has access.

    Ray's default folder is shared by all users but belongs to the first one. The path must be
    short, because a socket's path has at most 107 characters and Ray's names take most of them.
    """
    path = _TEMPORARY / f"koco-{mark}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="koco-", dir=_TEMPORARY))  # another user has taken the name


def ensure_token() -> None:
    """Create Ray's token if there is none, as Ray does for the clusters that it starts.

    Raises:
        OSError: the token cannot be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else context_file.expand_path("~/.ray/auth_token")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))


def is_running(mark: str) -> bool:
    """Return whether the head with that mark runs."""
    return any(name == GCS for _, name in marked(mark))


def stop(mark: str, *, term_s: float = _TERM_S) -> int:
    """End every process with that mark. Return the number of processes.

    They have `term_s` seconds to end by themselves.
    """
    processes = marked(mark)
    folders = {folder for process, _ in processes for folder in _listeners(process)}
    # The GCS ends last, because the other processes sign off with it and take long if it is gone.
    first = [process for process, name in processes if name != GCS]
    for process in first:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(first, timeout=term_s)
    # The remaining processes, and those started in the meantime.
    rest = [process for process, _ in marked(mark)]
    for process in rest:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(rest, timeout=_TERM_S)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(processes)


def _listeners(process: psutil.Process) -> set[Path]:
    """Return the temporary folders that hold a process's sockets.

    Ray's dashboard starts its parts with `multiprocessing`, which creates such a folder. It removes
    the folder when it ends by itself, but not if it is killed.
    """
    try:
        paths = [Path(str(each.laddr)) for each in process.net_connections("unix") if each.laddr]
    except (psutil.Error, OSError):
        return set()
    return {path.parent for path in paths if path.parent.name.startswith("pymp-")}


def marked(mark: str) -> list[tuple[psutil.Process, str]]:
    """Return the processes with a mark, and their names."""
    found: list[tuple[psutil.Process, str]] = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append((process, process.name()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone, a zombie, or another user's, and so not ours
    return found
