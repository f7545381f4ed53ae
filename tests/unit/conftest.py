"""Fixtures for tests of the command line: a plane of memory, and `koco` talking to it."""

import io
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from koco.cli import main
from koco.store.engine.sqlite import connection, schema, search
from koco.store.engine.sqlite.engine import SqliteEngine
from tests.support.memory_plane import GREET, KEY, Plane, serving


def examples(many: int) -> int:
    """Return how many examples Hypothesis tries: a quarter of many, all with KOCO_EXAMPLES."""
    return many if os.environ.get("KOCO_EXAMPLES") else max(many // 4, 10)


# How long an example takes says how busy the machine is.
settings.register_profile(
    "koco",
    settings(),
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("koco")


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
Use = Callable[[str, str], None]


@pytest.fixture(scope="session", autouse=True)
def _copied_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Begin each new store with a copy of a file that has the tables.

    Making them takes 13 ms of the processor, and there are thousands of stores. Databases that a
    test makes without the engine are made as always.
    """
    made = tmp_path_factory.mktemp("tables") / "store.db"
    db = connection.connect(made)
    schema.migrate(db)
    search.prepare(db)
    db.close()
    opened = SqliteEngine._opened

    def copied(self: SqliteEngine) -> connection.Connection:
        if not self._path.exists():
            shutil.copyfile(made, self._path)
        return opened(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteEngine, "_opened", copied)
        yield


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return a function that makes `koco` talk to the control plane at a URL, with a key."""

    def use(url: str, key: str) -> None:
        monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("KOCO_URL", url)
        monkeypatch.setenv("KOCO_KEY", key)

    return use


@pytest.fixture
def plane(use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """Serve a plane that has a flow, and make it the one that `koco` talks to."""
    with serving() as plane:
        plane.flows["greet"] = deepcopy(GREET)
        use(plane.url, KEY)
        monkeypatch.chdir(tmp_path)
        yield plane


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Return a function that runs a command in this process. It never uses the user's own home."""
    if "KOCO_HOME" not in os.environ:
        monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))

    def run(*args: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        code = main.run(list(args))
        sys.stdout.flush()
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def terminal() -> Cli:
    """Return a function that runs a command with stdout and stderr on one terminal."""

    def run(*args: str, env: dict[str, str] | None = None) -> Ran:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "koco", *args],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **(env or {})},
        )
        os.close(theirs)
        pieces = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # a terminal whose other end was closed
            pass
        os.close(ours)
        text = b"".join(pieces).decode().replace("\r\n", "\n")
        return Ran(process.wait(100), text, "")

    return run
