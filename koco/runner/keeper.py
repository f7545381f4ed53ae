"""Holds what runners have in pipes: one process for all runners of a node, started by the first.

What a subprocess or C code writes stands in a pipe until a thread of the runner reads it, and is
gone with the runner's process: the kernel keeps a pipe only while somebody has it open. So the
keeper has it open as well, and reads nothing while the runner lives. Once it has ended, the keeper
writes what was left, and how it ended if the kernel tells, into the runner's directory.

This file is that process's program, too: it imports nothing of koco's, and little else.
"""

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

#: How long it stays without a runner (seconds).
_IDLE_S = 10.0
#: The most that is told at once (bytes): a path.
_WORD = 4096
_READ = 1024 * 1024
#: pidfd_open(2)'s ioctl since Linux 6.15 (include/uapi/linux/pidfd.h).
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
#: How long the parent of a dead process may take to collect it: only then the kernel tells (ms).
_REAPED_MS = 500

#: What it leaves in a directory: what was in the pipes, the wait status, and that this is all.
PIPE, STATUS, DONE = "pipe.", "status", "done"


class _Kept:
    """One runner."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        #: None where it had ended before this process came to hear of it.
        self.process: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self.process = os.pidfd_open(pid[0])
        self.path = ""
        self.pipes: list[int] = []

    def hear(self) -> bool:
        """Take what it says: its directory, and the pipes that it has from now on."""
        fds = array.array("i")
        word, extra, _, _ = self.connection.recvmsg(_WORD, socket.CMSG_SPACE(8 * fds.itemsize))
        for _, _, data in extra:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not word:
            return False
        self.path = word.decode()
        self._let_go()
        self.pipes = list(fds)
        return True

    def end(self) -> None:
        """Write down what it has left: its process has ended."""
        self.connection.setblocking(False)
        with contextlib.suppress(OSError):
            while self.hear():  # what it said last
                pass
        # One that has left in order has removed it.
        if os.path.isdir(self.path):  # noqa: PTH112 - pathlib takes memory
            for number, pipe in enumerate(self.pipes, 1):
                self._save(f"{PIPE}{number}", _left_in(pipe))
            status = None if self.process is None else _status(self.process)
            self._save(STATUS, b"" if status is None else str(status).encode())
            self._save(DONE, b"")
        self._let_go()
        if self.process is not None:
            os.close(self.process)
        self.connection.close()

    def _save(self, name: str, data: bytes) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            while data:
                data = data[os.write(fd, data) :]
            os.close(fd)

    def _let_go(self) -> None:
        for pipe in self.pipes:
            os.close(pipe)
        self.pipes = []


def _left_in(pipe: int) -> bytes:
    os.set_blocking(pipe, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        # What is in it now: somebody else may write there for ever.
        while len(data) < _READ and (piece := os.read(pipe, _READ)):
            data += piece
    return data


def _status(process: int) -> int | None:
    """Return the wait status of a process that has ended, as far as the kernel tells."""
    poll = select.poll()
    poll.register(process, 0)  # only that it is collected: POLLHUP
    poll.poll(_REAPED_MS)
    info = bytearray(struct.pack("QQ", _PIDFD_INFO_EXIT, 0) + bytes(48))
    try:
        fcntl.ioctl(process, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, exit_code = struct.unpack_from("Q", info)[0], struct.unpack_from("i", info, 60)[0]
    return exit_code if mask & _PIDFD_INFO_EXIT else None


def main(listener: socket.socket) -> None:
    """Keep what runners hand over, until there have been none for a while."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    #: By the descriptors of connection and process.
    kept: dict[int, _Kept] = {}
    while (ready := poll.poll(None if kept else _IDLE_S * 1000)) or kept:
        for fd, _ in ready:
            if fd == listener.fileno():
                each = _Kept(listener.accept()[0])
                if each.process is None:
                    each.end()
                    continue
                for its in (each.connection.fileno(), each.process):
                    kept[its] = each
                    poll.register(its, select.POLLIN)
            elif fd not in kept:
                continue  # it has ended in this very round
            elif fd == kept[fd].process:
                each = kept.pop(fd)
                poll.unregister(fd)
                if kept.pop(each.connection.fileno(), None):
                    poll.unregister(each.connection)
                each.end()
            elif not kept[fd].hear():
                poll.unregister(fd)  # its process tells when it ends
                del kept[fd]


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # Ray ends the children of a worker with it, and what it leaves is here
    main(socket.socket(fileno=int(sys.argv[1])))
