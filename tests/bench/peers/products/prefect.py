"""Prefect: its own server with PostgreSQL, and a process that serves the flows."""

import time
from pathlib import Path
from typing import Any, ClassVar

from tests.bench.peers import database
from tests.bench.peers.ledger import State
from tests.bench.peers.peer import POLL_S, Peer, Sizes, answers
from tests.bench.peers.processes import PROGRAMS, free_ports
from tests.bench.wire import AnswerError, Wire


class Prefect(Peer):
    """A server, and `serve`, which starts a process for each run."""

    name = "prefect"
    title = "Prefect, PostgreSQL"
    venv = "prefect"
    requirements = ("prefect==3.9.1",)
    packages = ("prefect",)
    setup = (
        "`prefect server start` with PostgreSQL, which it recommends for production (with SQLite "
        "it answered some launches with 503 here), and `serve` with a limit of five processes. "
        "`PREFECT_RUNNER_POLL_FREQUENCY` is 1 s (10 by default). Launches are not authenticated."
    )
    # Each run is a process that imports Prefect.
    sizes = Sizes(window=8, kill=16, waiting=20, patience=3, quiet_s=60)
    settings: ClassVar[dict[str, str]] = {
        "PREFECT_HOME": "{root}/prefect",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_SERVER_UI_ENABLED": "false",
    }
    notes: ClassVar[dict[str, str]] = {
        "finished": "`serve` polls for launches each second here, and starts a process for each.",
        "lost": "Runs that were under way stay `Running`. An automation can mark them as crashed; "
        "nothing runs them again.",
        "waiting": "`suspend_flow_run`: the process ends, and the flow runs again from its top.",
    }

    def __init__(self, root: Path, python: Path) -> None:
        super().__init__(root, python)
        self._database = database.Database(self.processes)

    @classmethod
    def missing(cls) -> str:
        """Say whether there is no PostgreSQL."""
        return database.missing()

    def start(self) -> None:
        """Start the database and the server, then the process that serves."""
        store = self._database.start().replace("postgresql:", "postgresql+asyncpg:")
        self.processes.settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = store
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self.processes.settings["PREFECT_API_URL"] = f"{self._url}/api"
        self.processes.start(
            *("server", self.python.with_name("prefect"), "server", "start"),
            *("--host", "127.0.0.1", "--port", port),
        )
        self.until(lambda: answers(self._url, "/api/health"))
        # After a restart the deployments are there already: `serve` says when it takes runs again.
        log = self.root / "serve.log"
        seen = log.stat().st_size if log.exists() else 0
        self.processes.start("serve", self.python, PROGRAMS / "prefect_flows.py")
        self.until(lambda: b"polling for scheduled" in log.read_bytes()[seen:])

    def stop(self) -> None:
        """End everything, and remove the database."""
        super().stop()
        self._database.remove()

    def deployment(self, flow: str) -> str:
        """Return the id of a flow's deployment."""
        with Wire(self._url) as wire:
            return str(wire.json("GET", f"/api/deployments/name/{flow}/peers")["id"])

    def connect(self) -> "_Connection":
        """Return a connection to the server."""
        return _Connection(Wire(self._url), self.deployment("trivial"), self.deployment("waiting"))


class _Connection:
    def __init__(self, wire: Wire, trivial: str, waiting: str) -> None:
        self._wire = wire
        self._trivial, self._waiting = trivial, waiting

    def launch(self, number: int, seconds: float = 0.0) -> str:
        return self._launch(self._trivial, {"number": number, "seconds": seconds})

    def launch_waiting(self, number: int) -> str:
        return self._launch(self._waiting, {"number": number})

    def _launch(self, deployment: str, parameters: dict[str, Any]) -> str:
        path = f"/api/deployments/{deployment}/create_flow_run"
        return str(self._wire.json("POST", path, {"parameters": parameters})["id"])

    def wait(self, ident: str) -> None:
        while (state := self.state(ident)) == "open":
            time.sleep(POLL_S)
        if state != "finished":
            raise RuntimeError(f"flow run {ident}: {state}")

    def state(self, ident: str) -> State:
        try:
            status = self._wire.json("GET", f"/api/flow_runs/{ident}")["state_type"]
        except AnswerError as error:
            if error.status == 404:
                return "gone"
            raise
        if status == "COMPLETED":
            return "finished"
        return "failed" if status in ("FAILED", "CRASHED", "CANCELLED") else "open"

    def close(self) -> None:
        self._wire.close()
