"""The start of a process that a fork server has made: see `koco.bootstrap.worker.fork_server`."""

import socket

#: The connection to the process that asked for this one. It waits until this one has reached Ray.
line: socket.socket | None = None


def is_over() -> None:
    """Let the process that asked for this one end, because Ray knows of this one now."""
    global line
    if line is not None:
        line.close()
        line = None
