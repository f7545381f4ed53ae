"""This runner's way to its node's keeper (see `keeper`), which is started where there is none."""

import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from koco.runner import keeper

log = logging.getLogger(__name__)

#: In a runner's directory once the keeper knows of it: it will say what was left.
KEPT = "kept"
_SOCKET = "keeper.sock"
_LOCK = "keeper.lock"
#: What `koco up` and `koco down` tell the processes of a cluster by.
_KNOWN_BY = ("KOCO_CLUSTER",)


class Keeping:
    """The connection of one runner, whose directory it is. `hand_over` may be called anew."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def is_new(self) -> bool:
        """Whether there has been no keeper so far."""
        return self._connection is None

    def hand_over(self, pipes: list[int]) -> None:
        """Have the keeper hold the reading ends of these pipes, in place of any before.

        Without a keeper, as on a system that has no pidfds, nothing is held.
        """
        with self._lock:
            self._hand_over(pipes)

    def _hand_over(self, pipes: list[int]) -> None:
        for _ in range(2):
            try:
                if self._connection is None:
                    self._connection = _connected(self._directory.parent)
                socket.send_fds(self._connection, [os.fsencode(self._directory)], pipes)
                (self._directory / KEPT).touch()
                return
            except (OSError, subprocess.SubprocessError) as exc:
                # It may have been about to leave, as nobody needed it: then another one comes.
                log.info("the keeper of pipes is not there: %s", exc)
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None


def _connected(folder: Path) -> socket.socket:
    if not hasattr(os, "pidfd_open"):
        raise OSError("this system has no pidfds")
    with contextlib.suppress(OSError):
        return _connect(folder)
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(OSError):
            return _connect(folder)
        _start(folder)
        return _connect(folder)


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(folder / _SOCKET))
    except OSError:
        connection.close()
        raise
    return connection


def _start(folder: Path) -> None:
    path = folder / _SOCKET
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(128)
        subprocess.run(
            # Neither what the service ships nor what its environment says is in its way.
            [sys.executable, "-I", "-S", keeper.__file__, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            # Nor are this runner's secrets in its environment, for it outlives the runner.
            env={name: os.environ[name] for name in _KNOWN_BY if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            check=True,
        )
