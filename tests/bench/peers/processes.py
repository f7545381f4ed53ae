"""Processes of one peer: started with its mark in their environment, measured and killed by it."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path

import psutil

PROGRAMS = Path(__file__).parent / "programs"
#: The environment variable that every process of a peer inherits.
_MARK = "PEERS_MARK"
#: Settings of the products themselves on this machine: none may reach them.
_DROPPED = (
    *("KOCO_", "RAY_", "PREFECT_", "DBOS_", "CELERY_", "LANG", "REDIS_", "PG", "PEERS_"),
    *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"),
)
#: How long a process may take to end by itself (seconds).
_TERM_S = 8.0


class Processes:
    """Starts processes in a folder of their own. Each has its output in a file there."""

    def __init__(self, root: Path, settings: dict[str, str]) -> None:
        self.root = root
        self._mark = secrets.token_hex(8)
        self.settings = settings
        self._started: list[subprocess.Popen[bytes]] = []
        self._adopted: set[int] = set()

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: no settings of the user's, a home of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
        own = {
            "HOME": str(self.root),
            "TMPDIR": str(self.root),
            "PYTHONPATH": str(PROGRAMS),
            "DO_NOT_TRACK": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return {**kept, **own, _MARK: self._mark, **self.settings}

    def start(self, name: str, *command: object) -> "subprocess.Popen[bytes]":
        """Start a process that stays."""
        with (self.root / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=self.environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, name: str, *command: object, timeout_s: float = 120.0) -> None:
        """Run a command to its end.

        Raises:
            RuntimeError: it failed; it holds the end of its output.
        """
        process = self.start(name, *command)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{name} did not end in {timeout_s:g} s: {self.said(name)}"
            ) from None
        if code:
            raise RuntimeError(f"{name} failed: {code}: {self.said(name)}")

    def said(self, name: str) -> str:
        """Return the end of what a process has printed."""
        with contextlib.suppress(OSError):
            return (self.root / f"{name}.log").read_text(errors="replace")[-2000:]
        return ""

    def died(self) -> str:
        """Name a process that has ended with an error though it should stay, or return ''."""
        for process in self._started:
            if process.poll():
                words = [str(word) for word in process.args]  # type: ignore[union-attr]
                return f"{' '.join(words[:4])}: exit code {process.returncode}"
        return ""

    def adopt(self, pid: int) -> None:
        """Count a process that something else has started, and its children, as the peer's."""
        self._adopted.add(pid)

    def all(self) -> list[psutil.Process]:
        """Return every process of the peer: by its mark, and those below what was started.

        Servers such as Redis and PostgreSQL write their title over their environment; what has
        left its parent is only found by the mark.
        """
        roots = {each.pid for each in self._started if each.poll() is None} | self._adopted
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            try:
                is_marked = process.environ().get(_MARK) == self._mark
                if process.pid in roots:
                    found.update({each.pid: each for each in process.children(recursive=True)})
                if is_marked or process.pid in roots:
                    found[process.pid] = process
            except (psutil.Error, OSError):
                continue  # gone, or somebody else's
        return [each for each in found.values() if _is_alive(each)]

    def kill(self) -> int:
        """End everything at once with SIGKILL; return how many processes there were."""
        killed: set[int] = set()
        while alive := self.all():
            for process in alive:
                with contextlib.suppress(psutil.Error):
                    process.kill()
                killed.add(process.pid)
            psutil.wait_procs(alive, timeout=2)
        for process in self._started:
            process.wait()
        self._started.clear()
        self._adopted.clear()
        return len(killed)

    def stop(self) -> None:
        """Ask the processes that were started to end; kill what is left."""
        for process in reversed(self._started):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
        for process in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TERM_S)
        self.kill()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def free_ports(count: int) -> list[int]:
    """Return free ports of 127.0.0.1."""
    with contextlib.ExitStack() as held:  # all stay bound until the end, so none is found twice
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
