"""Celery with Redis as broker and for results, and its own client."""

import json
import shutil
import subprocess
from typing import Any, ClassVar

from tests.bench.peers.ledger import State
from tests.bench.peers.peer import Peer, Sizes
from tests.bench.peers.processes import PROGRAMS, Processes, free_ports

#: When Redis gives a dead worker's tasks to others (seconds). It must exceed the longest task.
_VISIBILITY_S = 10
#: How far in the future a task begins that waits (seconds).
_DELAY_S = 3600


class Celery(Peer):
    """A worker with a process for each core, and a Redis that appends to a file."""

    name = "celery"
    title = "Celery, Redis"
    venv = "celery"
    requirements = ("celery[redis]==5.7.0",)
    packages = ("celery", "kombu", "redis")
    setup = (
        "`acks_late`, `reject_on_worker_lost`, `prefetch_multiplier=1`, a process for each core, "
        f"Redis with `appendonly yes`, `visibility_timeout` {_VISIBILITY_S} s (an hour by "
        "default) and `unacked_restore_throttle` 1, as goes with it. Its own client, no HTTP, no "
        "authentication."
    )
    sizes = Sizes(quiet_s=30)
    settings: ClassVar[dict[str, str]] = {"PEERS_VISIBILITY_S": str(_VISIBILITY_S)}
    notes: ClassVar[dict[str, str]] = {
        "waiting": "Celery cannot wait within a task: what comes after the answer is a task of its "
        "own. Measured are tasks with a `countdown`, which the worker keeps in memory.",
        "lost": "A dead worker's tasks come back after `visibility_timeout`.",
    }

    @classmethod
    def missing(cls) -> str:
        """Say whether there is no Redis."""
        if shutil.which("redis-server"):
            return ""
        return "There is no redis-server on this machine: install Debian's package redis-server."

    def start(self) -> None:
        """Start Redis, then the worker."""
        [port] = free_ports(1)
        self.processes.settings["PEERS_REDIS"] = f"redis://127.0.0.1:{port}/0"
        self._clients = Processes(self.root, dict(self.processes.settings))
        self.processes.start(
            *("redis", shutil.which("redis-server"), "--port", port, "--bind", "127.0.0.1"),
            *("--dir", self.root, "--appendonly", "yes"),
        )
        self.processes.start(
            *("celery", self.python, "-m", "celery", "-A", "celery_tasks", "worker"),
            *("--loglevel", "WARNING"),
        )
        client = self.connect()
        self.until(lambda: client.ask("workers"))
        client.close()

    def connect(self) -> "_Connection":
        """Start a client of its own."""
        return _Connection(self._clients, [str(self.python), str(PROGRAMS / "celery_client.py")])

    def wait_states(self, numbers: list[int]) -> int:
        """Return how many wait: all of them, since they are accepted only then."""
        return len(numbers)

    def stop(self) -> None:
        """End everything."""
        super().stop()
        if hasattr(self, "_clients"):
            self._clients.kill()


class _Connection:
    """A process of Celery's client. It is not the product's: it is neither measured nor killed."""

    def __init__(self, clients: Processes, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=clients.environment(),
            cwd=clients.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ask("ready")  # it has imported Celery

    def ask(self, *order: object) -> Any:
        """Send an order; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ConnectionError("Celery's client has ended")
        told = json.loads(line)
        if "error" in told:
            raise ConnectionError(told["error"])
        return told["answer"]

    def launch(self, number: int, seconds: float = 0.0) -> str:
        return str(self.ask("launch", number, seconds, 0))

    def wait(self, ident: str) -> None:
        self.ask("wait", ident)

    def launch_waiting(self, number: int) -> str:
        return str(self.ask("launch", number, 0, _DELAY_S))

    def state(self, ident: str) -> State:
        status = self.ask("status", ident)
        if status == "SUCCESS":
            return "finished"
        return "failed" if status in ("FAILURE", "REVOKED") else "open"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
