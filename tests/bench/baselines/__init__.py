"""The same without koco, each a program of its own: `python -m tests.bench.baselines.X`."""

import contextlib
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What a baseline may take (seconds).
_LONGEST_S = 300

ROOT = Path(__file__).resolve().parents[3]


def run(name: str, *arguments: object) -> dict[str, Any]:
    """Run a baseline to its end; return what it measured."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.baselines.{name}", *map(str, arguments)],
        cwd=ROOT,
        # As koco's own: without it Ray looks for the head elsewhere than on loopback.
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"baseline {name} failed: {done.stderr[-2000:]}")
    # Ray may print words of its own before and after.
    answer = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    figures: dict[str, Any] = json.loads(answer)
    return figures


@contextlib.contextmanager
def routes() -> Iterator[str]:
    """Serve bare litestar routes (`route`); give their URL."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.baselines.route"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait()


def dbos_python(folder: Path) -> str:
    """Return a Python that has DBOS, in a venv that is made in this folder; takes some seconds."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "dbos"]
    subprocess.run(command, check=True, capture_output=True)
    return python


def start_dbos(python: str, what: str, folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    """Start `dbos_steps`, which keeps its database in a folder."""
    folder.mkdir(exist_ok=True)
    program = Path(__file__).with_name("dbos_steps.py")
    command = [python, str(program), what, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run_dbos(python: str, what: str, folder: Path, *arguments: object) -> dict[str, float]:
    """Run `dbos_steps` to its end; return what it measured."""
    with start_dbos(python, what, folder, *arguments) as process:
        out, _ = process.communicate(timeout=_LONGEST_S)
    if process.returncode:
        raise RuntimeError(f"baseline dbos_steps {what} failed")
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures
