"""A PostgreSQL of a peer's own, with the settings that Debian ships: a commit reaches the disk."""

import pytest

from tests.bench.peers.processes import Processes
from tests.support import postgres

#: Where it listens, and nothing that would make it faster than a user's.
_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


def missing() -> str:
    """Say what this machine lacks, or return ''."""
    try:
        postgres.programs()
    except (pytest.skip.Exception, pytest.fail.Exception) as reason:
        return str(reason)
    return ""


class Database:
    """A server whose processes are a peer's."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._server: postgres.Server | None = None

    def start(self) -> str:
        """Start it, or start it again after it was killed; return the URL of a database."""
        if self._server is None:
            self._server = postgres.Server(_SETTINGS)
            self._server.execute("CREATE DATABASE peers")
            self._server.execute("CREATE EXTENSION pg_trgm", "peers")  # Prefect and koco want it
        else:
            self._server.stop()  # which only notes that it is dead
            self._server.start()
        pid = (self._server.data / "postmaster.pid").read_text().split()[0]
        self._processes.adopt(int(pid))
        return self._server.url("peers")

    def remove(self) -> None:
        """Stop it and remove its data."""
        if self._server is not None:
            self._server.remove()
