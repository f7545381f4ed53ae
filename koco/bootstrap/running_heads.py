"""Ray heads that run on this machine: their owners, and which of their processes are alive.

The facts come from the processes, not from a file with an address, because another program may
have written the file.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from koco.bootstrap import local_head

GCS, RAYLET, AGENTS, DASHBOARD = "GCS", "raylet", "agents", "dashboard"
CONTROL_PLANE = "control plane"

#: The parts that a head cannot run without, and that Ray does not restart if they die.
_VITAL = (GCS, RAYLET, AGENTS)
#: The title that Ray gives to a control plane's process.
_CONTROL_PLANE = "ray::ControlPlane"
#: How long a killed process may take to end (seconds).
_END_S = 5.0
#: Parts of each agent's command line, before and after the agent has set its title.
_AGENTS = (
    ("dashboard/agent.py", "ray::DashboardAgent"),
    ("runtime_env/agent/main.py", "ray::RuntimeEnvAgent"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """A head on this machine: its owner's user id, and its mark if `koco up` started it."""

    owner: int
    mark: str

    @property
    def is_own(self) -> bool:
        """Whether this user started it, without `koco up`."""
        return self.owner == os.getuid() and not self.mark

    @property
    def lets_in(self) -> bool:
        """Whether this user may open its sockets."""
        return os.getuid() in (0, self.owner)

    @property
    def whose(self) -> str:
        """Its owner, in words for a message."""
        if self.owner != os.getuid():
            return "another user's"
        return "another koco home's" if self.mark else "your own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """The remaining processes of a head that `koco up` started for a home."""

    #: The number of processes with its mark.
    count: int = 0
    present: frozenset[str] = frozenset()
    #: The address of its GCS; empty if the GCS is gone.
    address: str = ""
    #: The dashboard's port; 0 if the dashboard is gone.
    dashboard: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether it can continue: all parts that Ray does not restart are alive."""
        return self.present.issuperset(_VITAL)

    @property
    def gone(self) -> list[str]:
        """The missing parts of a head that has run; empty if no process of it is left."""
        every = (*_VITAL, DASHBOARD, CONTROL_PLANE)
        return [part for part in every if part not in self.present] if self.count else []


def requested_address() -> str:
    """Return the address that RAY_ADDRESS names, or "" if it is not a head's address."""
    name = ray_address()
    # RAY_ADDRESS may also be `auto` or, for some of Ray's tools, a dashboard's URL.
    return "" if "://" in name or ":" not in name else name


def ray_address() -> str:
    """Return the value of RAY_ADDRESS, or "" if it is unset or blank."""
    return os.environ.get("RAY_ADDRESS", "").strip()


def current() -> str:
    """Return the address of the head that Ray itself would join on this machine, or ""."""
    base = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    try:
        return (base / "ray" / "ray_current_cluster").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def listens(address: str) -> bool:
    """Return whether a process listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except (OSError, ValueError):
        return False


def at(address: str) -> Head | None:
    """Return this machine's head whose GCS listens on the address's port, or None."""
    port = address.rpartition(":")[2]
    for process in psutil.process_iter():
        try:
            if process.name() == local_head.GCS and _port_of(process) == port:
                return Head(process.uids().real, _mark_of(process))
        except (psutil.Error, OSError):
            continue
    return None


def remains(mark: str) -> Remains:
    """Return the remaining processes of the head with a mark."""
    present, address, dashboard = set(), "", 0
    processes = local_head.marked(mark)
    for process, name in processes:
        try:
            words = process.cmdline()
            line = " ".join(words)
            if name == local_head.GCS:
                present.add(GCS)
                address = f"{_option(words, '--node-ip-address')}:{_port_of(process)}"
            elif name == local_head.RAYLET and "--head" in words:
                present.add(RAYLET)
                present.update([AGENTS] if _has_agents(process) else [])
            elif "/dashboard/dashboard.py" in line:
                present.add(DASHBOARD)
                dashboard = int(_option(words, "--port") or 0)
            elif line.startswith(_CONTROL_PLANE):
                present.add(CONTROL_PLANE)
        except (psutil.Error, OSError):
            continue  # it has ended meanwhile
    return Remains(
        count=len(processes), present=frozenset(present), address=address, dashboard=dashboard
    )


def end_control_plane(data_dir: Path) -> bool:
    """End this user's control plane that has the store open. Return whether there was one."""
    lock = str(data_dir / "store.lock")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_one = " ".join(process.cmdline()).startswith(_CONTROL_PLANE)
            if is_one and lock in {each.path for each in process.open_files()}:
                process.kill()
                process.wait(_END_S)
                return True
    return False


def _has_agents(raylet: psutil.Process) -> bool:
    lines = []
    # Not by their mark, because agents that an older koco started do not show it.
    for each in raylet.children():
        with contextlib.suppress(psutil.Error, OSError):  # a worker that has just ended
            lines.append(" ".join(each.cmdline()))
    return all(any(name in line for name in names for line in lines) for names in _AGENTS)


def _port_of(process: psutil.Process) -> str:
    return _option(process.cmdline(), "--gcs_server_port")


def _option(words: list[str], name: str) -> str:
    return next((each.partition("=")[2] for each in words if each.startswith(f"{name}=")), "")


def _mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(local_head.MARK, "")
    except (psutil.Error, OSError):
        return ""  # another user's
