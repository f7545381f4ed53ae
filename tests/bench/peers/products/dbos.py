"""DBOS: a library in a FastAPI application of the user's, with SQLite or PostgreSQL."""

from pathlib import Path
from typing import ClassVar

from tests.bench.peers import database
from tests.bench.peers.ledger import State
from tests.bench.peers.peer import Peer, answers
from tests.bench.peers.processes import PROGRAMS, free_ports
from tests.bench.wire import Wire


class DbosOnSqlite(Peer):
    """DBOS with its default database."""

    name = "dbos-sqlite"
    title = "DBOS, SQLite"
    venv = "dbos"
    requirements = ("dbos==3.4.0", "fastapi==0.165.0", "uvicorn==0.54.0")
    packages = ("dbos", "fastapi", "uvicorn")
    setup = (
        "A FastAPI application in one process, as its guide has it; the work is a step. Launches "
        "are not authenticated."
    )
    notes: ClassVar[dict[str, str]] = {
        "finished": "The application waits in the process that runs the workflow. Another process "
        "would poll the database, each second by default.",
        "waiting": "`DBOS.recv`: they stay in the process.",
    }

    def database(self) -> str:
        """Return the URL of the database, which is ready."""
        return f"sqlite:///{self.root}/dbos.sqlite"

    def start(self) -> None:
        """Start the application."""
        self.processes.settings["PEERS_DATABASE"] = self.database()
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self.processes.start("dbos", self.python, PROGRAMS / "dbos_app.py", port)
        self.until(lambda: answers(self._url, "/health"))

    def connect(self) -> "_Connection":
        """Return a connection to the application."""
        return _Connection(Wire(self._url))


class DbosOnPostgres(DbosOnSqlite):
    """DBOS with PostgreSQL, which it recommends for production."""

    name = "dbos-postgres"
    title = "DBOS, PostgreSQL"
    setup = "The same with PostgreSQL, which DBOS recommends for production."

    def __init__(self, root: Path, python: Path) -> None:
        super().__init__(root, python)
        self._server = database.Database(self.processes)

    @classmethod
    def missing(cls) -> str:
        """Say whether there is no PostgreSQL."""
        return database.missing()

    def database(self) -> str:
        """Start the server; return the database's URL."""
        return self._server.start()

    def stop(self) -> None:
        """End everything, and remove the database."""
        super().stop()
        self._server.remove()


class _Connection:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def launch(self, number: int, seconds: float = 0.0) -> str:
        path = f"/launch/{number}?seconds={seconds}"
        return str(self._wire.json("POST", path)["id"])

    def wait(self, ident: str) -> None:
        self._wire.request("GET", f"/result/{ident}")

    def launch_waiting(self, number: int) -> str:
        return str(self._wire.json("POST", f"/waiting/{number}")["id"])

    def state(self, ident: str) -> State:
        status = self._wire.json("GET", f"/status/{ident}")["status"]
        if status is None:
            return "gone"
        if status == "SUCCESS":
            return "finished"
        return "open" if status in ("PENDING", "ENQUEUED", "DELAYED") else "failed"

    def close(self) -> None:
        self._wire.close()
