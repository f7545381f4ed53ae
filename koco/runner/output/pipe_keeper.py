"""The keeper: one process per node that keeps the contents of runners' pipes.

A node's first runner starts it. Output of a subprocess or of C code stays in a pipe until a thread
of the runner reads it. The kernel frees a pipe once no process has it open, so the output would be
lost with the runner's process. So the keeper has the pipes open as well, and reads nothing while
the runner lives. Once the runner has ended, the keeper writes the rest of the pipes into the
runner's directory, and also how the process ended, if the kernel reports it.

This file is also the program of that process, so it imports nothing of koco and little else.
"""

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

#: How long the keeper stays if it has no runner (seconds).
_IDLE_S = 10.0
#: The largest message (bytes): a path.
_MESSAGE_BYTES = 4096
_READ = 1024 * 1024
#: pidfd_open(2)'s ioctl since Linux 6.15 (include/uapi/linux/pidfd.h).
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
#: How long a dead process's parent may take to reap it; the kernel reports nothing before (ms).
_REAPED_MS = 500

#: Files that it writes: the rest of each pipe, the wait status, and a mark that this is all.
PIPE, STATUS, DONE = "pipe.", "status", "done"


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        #: None if the runner had already ended when the keeper accepted its connection.
        self.process: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self.process = os.pidfd_open(pid[0])
        self.path = ""
        self.pipes: list[int] = []

    def receive(self) -> bool:
        """Receive a message: the runner's directory, and its current pipes. False at the end."""
        fds = array.array("i")
        message, extra, _, _ = self.connection.recvmsg(
            _MESSAGE_BYTES, socket.CMSG_SPACE(8 * fds.itemsize)
        )
        for _, _, data in extra:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not message:
            return False
        self.path = message.decode()
        self._close_pipes()
        self.pipes = list(fds)
        return True

    def end(self) -> None:
        """Write down what is left of the runner, because its process has ended."""
        self.connection.setblocking(False)
        with contextlib.suppress(OSError):
            while self.receive():  # its last messages
                pass
        # A runner that ended normally has removed its directory.
        if os.path.isdir(self.path):  # noqa: PTH112 - pathlib would take memory
            for number, pipe in enumerate(self.pipes, 1):
                self._save(f"{PIPE}{number}", _read_rest(pipe))
            status = None if self.process is None else _wait_status(self.process)
            self._save(STATUS, b"" if status is None else str(status).encode())
            self._save(DONE, b"")
        self._close_pipes()
        if self.process is not None:
            os.close(self.process)
        self.connection.close()

    def _save(self, name: str, data: bytes) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            while data:
                data = data[os.write(fd, data) :]
            os.close(fd)

    def _close_pipes(self) -> None:
        for pipe in self.pipes:
            os.close(pipe)
        self.pipes = []


def _read_rest(pipe: int) -> bytes:
    os.set_blocking(pipe, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        # Only what is in it now, because another process may write to it for ever.
        while len(data) < _READ and (piece := os.read(pipe, _READ)):
            data += piece
    return data


def _wait_status(process: int) -> int | None:
    """Return the wait status of a process that has ended, if the kernel reports it."""
    poll = select.poll()
    poll.register(process, 0)  # waits until it is reaped: POLLHUP
    poll.poll(_REAPED_MS)
    info = bytearray(struct.pack("QQ", _PIDFD_INFO_EXIT, 0) + bytes(48))
    try:
        fcntl.ioctl(process, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, exit_code = struct.unpack_from("Q", info)[0], struct.unpack_from("i", info, 60)[0]
    return exit_code if mask & _PIDFD_INFO_EXIT else None


def main(listener: socket.socket) -> None:
    """Keep the pipes that runners hand over; return once there have been no runners for a while."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    #: By the file descriptor of the connection, and by that of the process.
    clients: dict[int, _Client] = {}
    while (ready := poll.poll(None if clients else _IDLE_S * 1000)) or clients:
        for fd, _ in ready:
            if fd == listener.fileno():
                client = _Client(listener.accept()[0])
                if client.process is None:
                    client.end()
                    continue
                for fd_of_client in (client.connection.fileno(), client.process):
                    clients[fd_of_client] = client
                    poll.register(fd_of_client, select.POLLIN)
            elif fd not in clients:
                continue  # its runner has ended in this same round
            elif fd == clients[fd].process:
                client = clients.pop(fd)
                poll.unregister(fd)
                if clients.pop(client.connection.fileno(), None):
                    poll.unregister(client.connection)
                client.end()
            elif not clients[fd].receive():
                poll.unregister(fd)  # its process's descriptor reports the end
                del clients[fd]


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # Ray ends a worker's children with it, so the keeper must be no child
    main(socket.socket(fileno=int(sys.argv[1])))
