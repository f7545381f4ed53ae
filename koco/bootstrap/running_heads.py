"""Ray heads that run on this machine: whose they are, and which of their processes are there.

What the processes say decides, not a file that names an address: others may have written that.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from koco.bootstrap import local_head

if TYPE_CHECKING:
    import psutil

GCS, RAYLET, AGENTS, DASHBOARD = "GCS", "raylet", "agents", "dashboard"
CONTROL_PLANE = "control plane"

#: What a head cannot do without: where one of these has died, Ray does not bring it back.
_VITAL = (GCS, RAYLET, AGENTS)
#: How a control plane's process is called by Ray.
_CONTROL_PLANE = "ray::ControlPlane"
#: How long a process that is killed may take (seconds).
_END_S = 5.0
#: What stands in the command lines of an agent, before and after it has given itself a title.
_AGENTS = (
    ("dashboard/agent.py", "ray::DashboardAgent"),
    ("runtime_env/agent/main.py", "ray::RuntimeEnvAgent"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """A head on this machine: its user's number, and its mark where `koco up` started it."""

    owner: int
    mark: str

    @property
    def is_own(self) -> bool:
        """Whether this user has started it, by hand."""
        return self.owner == os.getuid() and not self.mark

    @property
    def lets_in(self) -> bool:
        """Whether this user may open its sockets."""
        return os.getuid() in (0, self.owner)

    @property
    def whose(self) -> str:
        """Whose it is, for messages."""
        if self.owner != os.getuid():
            return "another user's"
        return "another koco home's" if self.mark else "your own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What is there of the head that `koco up` started for a home."""

    #: How many processes have its mark.
    count: int = 0
    present: frozenset[str] = frozenset()
    #: Where its GCS listens; nothing where that is gone.
    address: str = ""
    #: The dashboard's port; 0 where it is gone.
    dashboard: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether it can go on: all that Ray does not bring back by itself is there."""
        return self.present.issuperset(_VITAL)

    @property
    def gone(self) -> list[str]:
        """What is missing of a head that ran, in words."""
        every = (*_VITAL, DASHBOARD, CONTROL_PLANE)
        return [part for part in every if part not in self.present] if self.count else []


def asked() -> str:
    """Return the address that RAY_ADDRESS names; nothing where that is no head's."""
    name = named()
    # Ray's tools take `auto` and a dashboard's URL from there, too.
    return "" if "://" in name or ":" not in name else name


def named() -> str:
    """Return what RAY_ADDRESS says; nothing where it is not set, or blank."""
    return os.environ.get("RAY_ADDRESS", "").strip()


def current() -> str:
    """Return the address of what Ray itself would join on this machine; nothing where none is."""
    base = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    try:
        return (base / "ray" / "ray_current_cluster").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def listens(address: str) -> bool:
    """Say whether somebody listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except (OSError, ValueError):
        return False


def at(address: str) -> Head | None:
    """Return the head whose GCS listens on that port; None where this machine has none."""
    import psutil

    port = address.rpartition(":")[2]
    for process in psutil.process_iter():
        try:
            if process.name() == local_head.GCS and _port_of(process) == port:
                return Head(process.uids().real, _mark_of(process))
        except (psutil.Error, OSError):
            continue
    return None


def remains(mark: str) -> Remains:
    """Look at what is there of the head with a mark."""
    import psutil

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
    """End the control plane of this user's that has a store open; return whether there was one."""
    import psutil

    lock = str(data_dir / "store.lock")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_one = " ".join(process.cmdline()).startswith(_CONTROL_PLANE)
            if is_one and lock in {each.path for each in process.open_files()}:
                process.kill()
                process.wait(_END_S)
                return True
    return False


def _has_agents(raylet: "psutil.Process") -> bool:
    import psutil

    lines = []
    # Not by their mark, which those of a Ray that an older koco has started do not show.
    for each in raylet.children():
        with contextlib.suppress(psutil.Error, OSError):  # a worker that has just ended
            lines.append(" ".join(each.cmdline()))
    return all(any(name in line for name in names for line in lines) for names in _AGENTS)


def _port_of(process: "psutil.Process") -> str:
    return _option(process.cmdline(), "--gcs_server_port")


def _option(words: list[str], name: str) -> str:
    return next((each.partition("=")[2] for each in words if each.startswith(f"{name}=")), "")


def _mark_of(process: "psutil.Process") -> str:
    import psutil

    try:
        return process.environ().get(local_head.MARK, "")
    except (psutil.Error, OSError):
        return ""  # another user's
