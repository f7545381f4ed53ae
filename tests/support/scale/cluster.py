"""The machines of the storm, and the processes on them: three raylets with folders of their own."""

import contextlib
import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg

from koco.bootstrap.local_head import mark_of
from tests.support import postgres
from tests.support.driver import Koco, eventually

#: The resource of the nodes beside the head that a runner takes.
SLOT = "slot"

_MEMBERS = "SELECT name, url, pid FROM koco.members ORDER BY name"
_LEADER = "SELECT member, epoch FROM koco.leader"


@dataclass(frozen=True)
class Member:
    """A process of the control plane, as it has entered itself in the store."""

    name: str
    url: str
    pid: int


@dataclass
class Plane:
    """The processes of the control plane."""

    members: list[Member] = field(default_factory=list)
    #: The name of the one that leads, and how often another one has come to.
    leader: str = ""
    epoch: int = 0

    @property
    def leading(self) -> Member | None:
        return next((each for each in self.members if each.name == self.leader), None)


class Cluster:
    """A koco with further nodes, whose store is on a PostgreSQL server of its own."""

    def __init__(self, koco: Koco, server: postgres.Server, *, api: int, slots: int) -> None:
        """Each further node has room for so many runners."""
        self.koco = koco
        self.server = server
        self.api = api
        self._slots = slots
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._plane = Plane()

    def up(self, nodes: int) -> None:
        """Start the head, the other nodes, and the control plane on all of them."""
        self.server.execute("CREATE DATABASE scale")
        store = ("--store", self.server.url("scale"))
        self.koco.up(*store)
        with ThreadPoolExecutor() as pool:
            for coming in [pool.submit(self.add_node) for _ in range(nodes)]:
                coming.result()
        eventually(lambda: len(self.koco.get("/v1/status")["ray"]["nodes"]) > nodes)
        if self.api > 1:
            self.koco.run("up", "--api", str(self.api)).ok()

    def close(self) -> None:
        """End the nodes; the rest goes with `koco down`."""
        for node in list(self.nodes):
            self.kill_node(node)
        self._stack.close()

    def add_node(self) -> None:
        """Start another node, with a folder of its own."""
        folder = self.koco.root / f"n{next(self._numbers)}"
        folder.mkdir()
        node = self.koco.another_node(folder=folder, resources={SLOT: self._slots})
        self.nodes.append(self._stack.enter_context(node))

    def kill_node(self, node: "subprocess.Popen[bytes]") -> list[str]:
        """Kill a node and all its processes at once; return their titles."""
        self.nodes.remove(node)
        parent = psutil.Process(node.pid)
        # The node's own first: none of the others can sign off.
        killed = [parent, *parent.children(recursive=True)]
        titles = [_title(each) for each in killed]
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()
        return titles

    def plane(self) -> Plane:
        """Return the control plane's processes; as they were if the store cannot say it now."""
        if self.api == 1:
            pids = self.titled("ray::ControlPlane")
            url = self.koco.context["url"]
            self._plane = Plane([Member("control", url, pid) for pid in pids], "control")
            return self._plane
        with contextlib.suppress(psycopg.Error), self.database() as db:
            members = [Member(*row) for row in db.execute(_MEMBERS).fetchall()]
            row = db.execute(_LEADER).fetchone()
            if row is not None:
                self._plane = Plane(members, row[0], int(row[1]))
        return self._plane

    def database(self) -> "psycopg.Connection[Any]":
        """Return a connection of one's own to the store."""
        return psycopg.connect(self.server.url("scale"), autocommit=True, connect_timeout=5)

    def titled(self, title: str) -> list[int]:
        """Return the processes of this cluster with such a title."""
        mark, found = mark_of(self.koco.home), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if _title(process).startswith(title) and (
                    process.environ().get("KOCO_CLUSTER") == mark
                ):
                    found.append(process.pid)
        return found


def _title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""
