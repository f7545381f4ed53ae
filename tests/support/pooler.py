"""PgBouncer before a PostgreSQL server, for tests."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import Server

#: Users are let in without a password, and all are the server's owner.
_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=koco
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = koco
pool_mode = {mode}
default_pool_size = {size}
server_round_robin = {round_robin}
"""


class Pooler:
    """PgBouncer on a free port of 127.0.0.1."""

    def __init__(
        self, server: Server, mode: str, *, size: int = 30, round_robin: bool = False
    ) -> None:
        self._server = server
        self._folder = server.owned_folder()
        self._options = {"size": size, "round_robin": int(round_robin)}
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self._write(mode)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program(), self._folder / "settings.ini"],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **server._identity(),  # type: ignore[call-overload]
            )
        until_s = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until_s:
                    pytest.fail(f"no PgBouncer: {(self._folder / 'log').read_text()}")
            time.sleep(0.02)

    def url(self, database: str) -> str:
        return self._server.url(database, port=self.port)

    def pool(self, mode: str) -> None:
        """Pool in another mode from now on, which counts for new connections at the latest."""
        import psycopg

        self._write(mode)
        with psycopg.connect(self.url("pgbouncer"), autocommit=True) as db:
            db.pgconn.exec_(b"RELOAD")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, mode: str) -> None:
        path = self._folder / "settings.ini"
        path.write_text(
            _SETTINGS.format(server=self._server.port, port=self.port, mode=mode, **self._options)
        )


def program() -> Path:
    """Return PgBouncer, or skip the test. CI must have it."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no pgbouncer: install pgbouncer")
        pytest.skip("no pgbouncer: install pgbouncer")
    return Path(found)


@contextmanager
def pooling(
    server: Server, mode: str, *, size: int = 30, round_robin: bool = False
) -> Iterator[Pooler]:
    """Pool the sessions of a server while the block runs."""
    pooler = Pooler(server, mode, size=size, round_robin=round_robin)
    try:
        yield pooler
    finally:
        pooler.close()
