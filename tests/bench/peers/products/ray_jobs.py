"""Bare Ray: jobs submitted to the dashboard."""

import secrets
import time
from typing import ClassVar

from tests.bench.peers.ledger import State
from tests.bench.peers.peer import POLL_S, Peer, Sizes, answers
from tests.bench.peers.processes import PROGRAMS, free_ports
from tests.bench.wire import AnswerError, Wire

#: How long a job sleeps that waits (seconds).
_SLEEP_S = 3600


class RayJobs(Peer):
    """A head, and a job for each launch."""

    name = "ray"
    title = "Ray jobs"
    venv = "ray"
    requirements = ("ray[default]==2.60.0",)
    packages = ("ray",)
    setup = (
        "`ray start --head`, jobs by `POST /api/jobs/` with a token. The entry point does not "
        "connect to Ray."
    )
    # Each job is two processes: its supervisor and the entry point.
    sizes = Sizes(window=8, kill=16, waiting=8, patience=3, quiet_s=10)
    settings: ClassVar[dict[str, str]] = {
        "RAY_TMPDIR": "{root}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "{root}/token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    notes: ClassVar[dict[str, str]] = {
        "lost": "The head keeps jobs in memory, unless it has a Redis of its own, which Ray "
        "recommends only with KubeRay.",
        "waiting": "Ray has no such state: each job is a process that sleeps, and a supervisor.",
    }

    def start(self) -> None:
        """Start a head."""
        self._token = secrets.token_hex(32)
        (self.root / "token").write_text(self._token)
        gcs, dashboard, client, agent = free_ports(4)
        self._url = f"http://127.0.0.1:{dashboard}"
        self.processes.run(
            *("ray", self.python.with_name("ray"), "start", "--head", "--disable-usage-stats"),
            *("--node-ip-address", "127.0.0.1", "--port", gcs, "--dashboard-port", dashboard),
            *("--ray-client-server-port", client, "--dashboard-agent-listen-port", agent),
        )
        self.until(lambda: answers(self._url, "/api/version", self._token))

    def connect(self) -> "_Connection":
        """Return a connection to the dashboard."""
        command = f"{self.python} {PROGRAMS / 'ray_entrypoint.py'}"
        return _Connection(Wire(self._url, self._token), command)


class _Connection:
    def __init__(self, wire: Wire, command: str) -> None:
        self._wire, self._command = wire, command

    def launch(self, number: int, seconds: float = 0.0) -> str:
        body = {"entrypoint": f"{self._command} {number} {seconds}"}
        return str(self._wire.json("POST", "/api/jobs/", body)["submission_id"])

    def launch_waiting(self, number: int) -> str:
        return self.launch(number, _SLEEP_S)

    def wait(self, ident: str) -> None:
        while (state := self.state(ident)) == "open":
            time.sleep(POLL_S)
        if state != "finished":
            raise RuntimeError(f"job {ident}: {state}")

    def state(self, ident: str) -> State:
        try:
            status = self._wire.json("GET", f"/api/jobs/{ident}")["status"]
        except AnswerError as error:
            if error.status == 404:
                return "gone"
            raise
        if status == "SUCCEEDED":
            return "finished"
        return "failed" if status in ("FAILED", "STOPPED") else "open"

    def close(self) -> None:
        self._wire.close()
