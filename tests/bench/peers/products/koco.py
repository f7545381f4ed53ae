"""koco itself: this checkout, by its own commands."""

import json
import tomllib
from pathlib import Path
from typing import ClassVar

from tests.bench.peers.database import Database, missing
from tests.bench.peers.ledger import State
from tests.bench.peers.peer import Peer, Sizes
from tests.bench.peers.processes import PROGRAMS
from tests.bench.wire import AnswerError, Wire

#: How soon an execution that only waits leaves its runner; by default after a minute (seconds).
_PARK_S = 3


class Koco(Peer):
    """Flows that are not durable."""

    name = "koco"
    title = "koco"
    packages = ("koco-deploy", "ray")
    setup = (
        "`koco up` and `koco deploy`, SQLite, `concurrency: 100`, no limit on requests of one key. "
        "A launch is authenticated."
    )
    sizes = Sizes()
    settings: ClassVar[dict[str, str]] = {
        "KOCO_HOME": "{root}/home",
        "RAY_TMPDIR": "{root}",
        "RAY_AUTH_TOKEN_PATH": "{root}/token",
    }
    notes: ClassVar[dict[str, str]] = {
        "lost": "A flow that is not durable ends with an error if its process is killed.",
        "waiting": "They stay in their process; durable flows leave it.",
    }
    #: The flows to launch.
    trivial, waiting = "trivial", "waiting"

    def store(self) -> tuple[str, ...]:
        """Return the options that choose the store."""
        return ()

    def start(self) -> None:
        """Start Ray and the control plane, and deploy the flows."""
        self._up()
        project = self.root / "project"
        project.mkdir()
        for name in ("koco_flows.py", "trivial_work.py"):
            (project / name).write_bytes((PROGRAMS / name).read_bytes())
        (project / "koco.toml").write_text('[project]\nname = "peers"\n')
        flows = [
            {"name": name, "entrypoint": f"koco_flows:{function}", "durable": is_durable}
            for name, function, is_durable in (
                ("trivial", "trivial", False),
                ("durable", "durable", True),
                ("waiting", "waiting", False),
                ("parked", "waiting", True),
            )
        ]
        manifest = {"service": "peers", "flows": flows, "runner": {"concurrency": 100}}
        (project / "koco.yaml").write_text(json.dumps(manifest))  # which is YAML, too
        self._koco("deploy", project / "koco.yaml")

    def restart(self) -> None:
        """Start Ray and the control plane; what was deployed is in the store."""
        self._up()

    def _up(self) -> None:
        settings = ("--set", "key_requests_per_s=0", "--set", f"park_after={_PARK_S}")
        self._koco("up", "--free-ports", *settings, *self.store())
        contexts = tomllib.loads((self.root / "home" / "contexts.toml").read_text())
        context = contexts["contexts"]["local"]
        self._url, self._key = context["url"], context["key"]

    def _koco(self, *words: object) -> None:
        self.processes.run("koco", self.python.with_name("koco"), *words)

    def connect(self) -> "_Connection":
        """Return a connection to the API, with another one that follows executions."""
        wires = Wire(self._url, self._key), Wire(self._url, self._key)
        return _Connection(
            *wires, f"/v1/flows/peers/{self.trivial}", f"/v1/flows/peers/{self.waiting}"
        )


class DurableKoco(Koco):
    """Durable flows, with a recorded step."""

    name = "koco-durable"
    title = "koco, durable"
    setup = "The same with `durable: true`; the work is a step."
    notes: ClassVar[dict[str, str]] = {
        "waiting": "They have no process while they wait. `park_after` is "
        f"{_PARK_S} s (60 by default).",
    }
    trivial, waiting = "durable", "parked"


class KocoOnPostgres(DurableKoco):
    """Durable flows, and a store in PostgreSQL."""

    name = "koco-postgres"
    title = "koco, durable, PostgreSQL"
    setup = "The same with `koco up --store postgresql://…`."

    def __init__(self, root: Path, python: Path) -> None:
        super().__init__(root, python)
        self._server = Database(self.processes)

    @classmethod
    def missing(cls) -> str:
        """Say whether there is no PostgreSQL."""
        return missing()

    def store(self) -> tuple[str, ...]:
        """Return the option with the database's URL; the server is started first."""
        return ("--store", self._server.start())

    def stop(self) -> None:
        """End everything, and remove the database."""
        super().stop()
        self._server.remove()


class _Connection:
    def __init__(self, wire: Wire, follower: Wire, trivial: str, waiting: str) -> None:
        self._wire, self._follower = wire, follower
        self._trivial, self._waiting = trivial, waiting

    def launch(self, number: int, seconds: float = 0.0) -> str:
        return self._launch(self._trivial, {"number": number, "seconds": seconds})

    def launch_waiting(self, number: int) -> str:
        return self._launch(self._waiting, {"number": number})

    def _launch(self, path: str, inputs: dict[str, float]) -> str:
        fid: str = self._wire.json("POST", path, inputs)["result"]
        return fid

    def wait(self, ident: str) -> None:
        for _ in self._follower.stream(f"/v1/executions/{ident}/events?follow=1&kind=status"):
            pass  # it ends with the final status

    def state(self, ident: str) -> State:
        try:
            status = self._wire.json("GET", f"/v1/executions/{ident}")["status"]
        except AnswerError as error:
            if error.status == 404:
                return "gone"
            raise
        if status == "finished":
            return "finished"
        return "failed" if status in ("error", "cancelled") else "open"

    def close(self) -> None:
        self._wire.close()
        self._follower.close()
