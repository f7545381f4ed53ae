"""An S3-speaking server for tests: `rclone serve s3` over a folder, and a wire that can break.

The server is a real one: it checks signatures, and what is stored outlives it. The wire stands
between it and its clients. It passes bytes on, and on demand it cuts, delays or replaces answers.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET = "koco-key", "koco-secret-of-tests"
BUCKET = "blobs"


def program() -> Path:
    """Return rclone, which is in the development dependencies."""
    found = Path(sys.executable).parent / "rclone"
    if not found.exists():
        if os.environ.get("CI"):
            pytest.fail("rclone is not installed: `make setup`")
        pytest.skip("rclone is not installed: `make setup`")
    return found


class Storage:
    """A server on a free port of 127.0.0.1, with one bucket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "buckets"
        (self.folder / BUCKET).mkdir(parents=True)
        self._log = folder / "rclone.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.wire = Wire(self._port)

    @property
    def variables(self) -> dict[str, str]:
        """What an operator sets."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.wire.port}",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(program(), "serve", "s3", self.folder, "--config", "/dev/null"),
                    *("--addr", f"127.0.0.1:{self._port}"),
                ],
                env={**os.environ, "RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'},
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            if self._process.poll() is not None or time.monotonic() > until_s:
                pytest.fail(f"the S3 server did not start: {self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: what was being written is lost, and connections break."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop()
        self.wire.close()

    def objects(self) -> list[str]:
        """Return the names of what is stored."""
        folder = self.folder / BUCKET
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


class Wire:
    """Passes connections on to a port of 127.0.0.1."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        #: An answer instead of the server's, so many times, to requests that begin with this.
        self.answer = b""
        self.method = b""
        self.times = 0
        #: The heads of the requests.
        self.requests: list[bytes] = []
        #: After how many bytes of an answer its connection is cut, and how often that happens.
        self.cut_after: int | None = None
        self.cuts = 0
        #: How long each answer waits (seconds).
        self.delay_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def refuse(self, answer: bytes, *, method: bytes = b"", times: int = 1_000_000) -> None:
        """Have requests of a method answered so, instead of by the server."""
        self.answer, self.method, self.times = answer, method, times

    def mend(self) -> None:
        self.answer, self.times, self.cut_after, self.cuts, self.delay_s = b"", 0, None, 0, 0.0

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        """Serve one request: a connection is not kept, so that each meets the present faults."""
        with link, contextlib.suppress(OSError), _shut(link):
            head, rest = _head(link)
            if not head:
                return
            self.requests.append(head)
            is_hit = self.times and (not self.method or head.startswith(self.method))
            if is_hit:
                self.times -= 1
                _drain(link, head, rest)
                link.sendall(self.answer)
                return
            with socket.create_connection(("127.0.0.1", self._to), 5) as server, _shut(server):
                server.settimeout(None)
                # The server must end the connection, too.
                server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + rest)
                up = threading.Thread(target=_copy, args=(link, server), daemon=True)
                up.start()
                time.sleep(self.delay_s)
                self._pass_back(server, link)

    def _pass_back(self, server: socket.socket, link: socket.socket) -> None:
        head, data = _head(server)
        if b"\r\nContent-Range:" in head:
            # rclone says 200 to a range that it serves, which S3 never does.
            head = head.replace(b"200 OK", b"206 Partial Content", 1)
        link.sendall(head)
        left = self.cut_after if self.cut_after is not None and self.cuts else None
        while data or (data := server.recv(1 << 16)):
            if left is not None and len(data) >= left:
                self.cuts -= 1
                link.sendall(data[:left])
                return
            left = None if left is None else left - len(data)
            link.sendall(data)
            data = b""


def refusal(status: int, code: str) -> bytes:
    """Return the answer of an S3 server that refuses."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode()
    return (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
        "\r\nConnection: close\r\n\r\n"
    ).encode() + body


def _head(link: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = link.recv(1 << 16)
        if not piece:
            return data, b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


@contextlib.contextmanager
def _shut(link: socket.socket) -> Iterator[None]:
    """End a connection after the block, also if another thread reads from it."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)


def _drain(link: socket.socket, head: bytes, rest: bytes) -> None:
    """Read a request's body, so that the answer is not lost with the connection."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            left = int(line.partition(b":")[2]) - len(rest)
            while left > 0 and (piece := link.recv(min(left, 1 << 16))):
                left -= len(piece)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Storage]:
    """Serve a bucket from a folder while the block runs."""
    storage = Storage(folder)
    try:
        yield storage
    finally:
        storage.close()
