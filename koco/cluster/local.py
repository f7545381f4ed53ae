"""A Ray head on this machine: its ports, its environment, its processes.

Standard library and psutil only: the command line uses it, and starts Ray in a
subprocess (`koco.boot`). The processes carry a mark in their environment, by
which they, and nothing else, are found again and stopped.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

#: The environment variable that marks every process of a cluster that `koco up` started.
MARK = "KOCO_CLUSTER"

#: What listens where by default. `api` is koco's; the others are Ray's own defaults.
PORTS = {"api": 8400, "gcs": 6379, "dashboard": 8265, "client": 10001, "agent": 52365}

_GCS = "gcs_server"
#: The environment variable that says how often Ray's monitor looks at the memory (ms), 0 for never.
_MONITOR = "RAY_memory_monitor_refresh_ms"
#: How long Ray's processes may take to end by themselves (seconds).
_TERM_S = 5.0


def mark_of(home: Path) -> str:
    """Return the mark of what is started for a home directory; a lost context loses nothing."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def choose_ports(remembered: dict[str, int], *, free: bool = False) -> dict[str, int]:
    """Return a port for each service: the remembered or default one, or a free one if taken."""
    return {
        name: _choose(0 if free else int(remembered.get(name, default)))
        for name, default in PORTS.items()
    }


def _choose(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def joining_environment(address: str) -> dict[str, str]:
    """Return the environment in which a running Ray is joined."""
    if not address.startswith("127."):
        return dict(os.environ)
    # Ray replaces 127.0.0.1 by the machine's address (`resolve_ip_for_localhost`), and
    # then waits for a node there in vain, unless told that this is a cluster of one
    # machine, as on Windows and macOS.
    return {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def starting_environment(mark: str) -> dict[str, str]:
    """Return the environment in which Ray is started, and joined by who started it."""
    return {
        **joining_environment("127.0.0.1"),
        MARK: mark,
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
        "RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0"),
        # pip tries again by itself; two more rounds make a misspelt name take 30 s.
        # Where memory gets short, Ray's monitor ends what it can start again first: the control
        # plane. Here koco looks after it by itself (`koco.cluster.guard`).
        _MONITOR: os.environ.get(_MONITOR, "0"),
        "RUNTIME_ENV_RETRY_TIMES": os.environ.get("RUNTIME_ENV_RETRY_TIMES", "1"),
    }


def ensure_token() -> None:
    """Make Ray's token where there is none, as Ray does for clusters of its own.

    Raises:
        OSError: it cannot be written.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))


def running_address() -> str | None:
    """Return the address of a Ray that runs on this machine already, whoever started it."""
    named = os.environ.get("RAY_ADDRESS", "")
    if not named or "://" in named:
        base = Path(os.environ.get("RAY_TMPDIR", "/tmp"))
        try:
            named = (base / "ray" / "ray_current_cluster").read_text().strip()
        except OSError:
            return None
    host, _, port = named.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return named
    except (OSError, ValueError):
        return None


def is_running(mark: str) -> bool:
    """Say whether the head with that mark runs."""
    return any(name == _GCS for _, name in _marked(mark))


def stop(mark: str) -> int:
    """End every process with that mark; return how many there were."""
    import psutil

    processes = _marked(mark)
    folders = {folder for process, _ in processes for folder in _listeners(process)}
    # The others sign off with the GCS and take long over it where it is gone: it goes last.
    first = [process for process, name in processes if name != _GCS]
    for process in first:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(first, timeout=_TERM_S)
    # The rest, and what was started in the meantime.
    rest = [process for process, _ in _marked(mark)]
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


def _marked(mark: str) -> "list[tuple[psutil.Process, str]]":
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
