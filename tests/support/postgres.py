"""PostgreSQL servers for tests: one for all tests of a process, or one of a test's own."""

import atexit
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

_TEMPLATE = "koco_template"
#: A user who needs a password, once a test has made it.
CAREFUL = "careful"
#: The oldest that koco can use.
_OLDEST = 15
#: How many databases of former tests are kept.
_KEPT = 6
#: A test's data may be lost with the machine. Sorting by rules of English, so that a query that
#: does not say its order is found.
_INITDB = (
    *("--username=koco", "--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8"),
    *("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_min_messages": "warning",
}


class Server:
    """A server in a folder, by default a temporary one, on a free port of 127.0.0.1.

    `settings` replaces those of a test, whose data may be lost with the machine.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, folder: Path | None = None
    ) -> None:
        self._settings = SETTINGS if settings is None else settings
        self._bin = programs()
        self._as = _owner()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="koco-postgres-"))
        self.data = self.folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if not self.data.exists():
            self._make()
        self.start()

    def _make(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if self._as:
            os.chown(self.folder, self._as.pw_uid, self._as.pw_gid)
        self._run("initdb", "-D", str(self.data), *_INITDB)
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"host all {CAREFUL} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, f"--port={self.port}", *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._identity(),
            )
        import psycopg

        until_s = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > until_s:
                    pytest.fail(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it by its pid: at once as after a crash, or with SIGINT in good order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def base_backup(self) -> Path:
        """Copy its files while it runs; return a folder in which another server can start."""
        folder = self.owned_folder()
        source = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "koco")
        self._run("pg_basebackup", "-D", str(folder / "data"), "--checkpoint=fast", *source)
        return folder

    def owned_folder(self) -> Path:
        """Return a new temporary folder of the user as whom it runs."""
        folder = Path(tempfile.mkdtemp(prefix="koco-postgres-"))
        if self._as:
            os.chown(folder, self._as.pw_uid, self._as.pw_gid)
        return folder

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, user: str = "koco", port: int | None = None) -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as db:
            db.execute(sql)  # type: ignore[call-overload]

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [self._bin / program, *args],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._identity(),
        )
        if done.returncode:
            pytest.fail(f"{program}: {done.stdout}{done.stderr}")

    def _identity(self) -> dict[str, object]:
        return {"user": self._as.pw_uid, "group": self._as.pw_gid} if self._as else {}


class Databases:
    """Databases on one server, one for each place. They have empty tables at first.

    To make one takes 50 ms, most of it in the kernel. So tests that only use a store get one of
    former tests, emptied.
    """

    def __init__(self, server: Server) -> None:
        from koco.store.engine.postgres import schema
        from koco.store.engine.postgres.connection import connect

        self.server = server
        self._own: deque[str] = deque()
        self._used: dict[Path, str] = {}
        server.execute(f"CREATE DATABASE {_TEMPLATE}")
        db = connect(server.url(_TEMPLATE))
        schema.migrate(db)
        db.close()

    def url(self, place: Path) -> str:
        """Return a database that nobody has used, with which a test may do what it wants."""
        if place in self._used:
            return self.server.url(self._used[place])
        name = _name(place)
        if name not in self._own:
            self._make(name)
            self._own.append(name)
        if len(self._own) > _KEPT:
            self.server.execute(f"DROP DATABASE {self._own.popleft()} WITH (FORCE)")
        return self.server.url(name)

    def made(self, place: Path) -> str:
        """Return a database that stays until the server ends."""
        self._make(name := _name(place))
        return self.server.url(name)

    def used(self, place: Path) -> str:
        """Return a database for a store."""
        if place not in self._used and _name(place) not in self._own:
            if len(self._used) < _KEPT:
                self._make(name := _name(place))
            else:
                name = self._used.pop(next(iter(self._used)))
                self.server.execute(_emptied(), name)
            self._used[place] = name
        return self.url(place)

    def _make(self, name: str) -> None:
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")


def _name(place: Path) -> str:
    return f"t_{hashlib.sha256(str(place).encode()).hexdigest()[:20]}"


@cache
def _emptied() -> str:
    """Return the statements that empty a database, and let its numbers begin at 1."""
    from koco.store.engine import rows
    from koco.store.engine.postgres.connection import IDENTITIES

    tables = [*rows.TABLES, *rows.REPLACED, "search"]
    numbers = [
        f"SELECT setval(pg_get_serial_sequence('koco.{table}', '{name}'), 1, false)"
        for table, name in IDENTITIES.items()
    ]
    statements = [
        "SET search_path TO koco",
        "SET session_replication_role TO replica",  # no triggers
        *(f"DELETE FROM {table}" for table in tables),
        "INSERT INTO audit_horizon VALUES ('')",
        "UPDATE indexed SET upto = 0, above = 0",
        *numbers,
    ]
    return "; ".join(statements)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, or skip the test. CI must have them.

    It imports psycopg only then: most of those who import this module test something else.
    """
    if not has_driver():
        _missing("no psycopg: `make setup` installs it")
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found = [path for path in found if int(path.parent.name) >= _OLDEST]
    if not found:
        _missing("no PostgreSQL 15 or newer in /usr/lib/postgresql: install postgresql")
    return max(found, key=lambda path: int(path.parent.name))


def has_driver() -> bool:
    return find_spec("psycopg") is not None


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@cache
def databases() -> Databases:
    """Return databases on the server of this process, which ends with it."""
    server = Server()
    atexit.register(server.remove)
    return Databases(server)


def _owner() -> pwd.struct_passwd | None:
    """Return the user that a server runs as, because it refuses to be root's."""
    if os.getuid():
        return None
    return next(each for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody"))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
