"""Connect a runner to its node's keeper (see `keeper`), and start the keeper if there is none."""

import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from koco.runner.output import pipe_keeper

log = logging.getLogger(__name__)

#: This file is in a runner's directory once the keeper knows the runner, and will report on it.
HANDED_OVER = "kept"
_SOCKET = "keeper.sock"
_LOCK = "keeper.lock"
#: Environment variables by which `koco up` and `koco down` recognise a cluster's processes.
_KNOWN_BY = ("KOCO_CLUSTER",)


class Keeping:
    """One runner's connection; `directory` is the runner's. `hand_over` may be called again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def is_new(self) -> bool:
        """Whether this runner has had no keeper so far."""
        return self._connection is None

    def hand_over(self, pipes: list[int]) -> None:
        """Let the keeper hold the reading ends of these pipes, in place of earlier ones.

        Does nothing without a keeper, for example on a system without pidfds.
        """
        with self._lock:
            for _ in range(2):
                try:
                    if self._connection is None:
                        self._connection = _connect_or_start(self._directory.parent)
                    socket.send_fds(self._connection, [os.fsencode(self._directory)], pipes)
                    (self._directory / HANDED_OVER).touch()
                    return
                except (OSError, subprocess.SubprocessError) as exc:
                    # It may have been about to leave because it had no runner: then start another.
                    log.info("the keeper of pipes cannot be reached: %s", exc)
                    if self._connection is not None:
                        self._connection.close()
                        self._connection = None


def _connect_or_start(folder: Path) -> socket.socket:
    if not hasattr(os, "pidfd_open"):
        raise OSError("this system has no pidfds")
    with contextlib.suppress(OSError):
        return _connect(folder)
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            return _connect(folder)
        _start_keeper(folder)
        return _connect(folder)


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(folder / _SOCKET))
    except OSError:
        connection.close()
        raise
    return connection


def _start_keeper(folder: Path) -> None:
    path = folder / _SOCKET
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(128)
        subprocess.run(
            # Isolated: neither the service's files nor its environment affect the keeper.
            [sys.executable, "-I", "-S", pipe_keeper.__file__, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            # Without the runner's secrets, because the keeper outlives the runner.
            env={name: os.environ[name] for name in _KNOWN_BY if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            check=True,
        )
