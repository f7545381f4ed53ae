"""What flows print, as events of the execution that printed it.

`sys.stdout` and `sys.stderr` become streams that ask a context variable whose
output this is: right for coroutines, for `asyncio.to_thread` and for the thread
that a plain function runs in. In a process that runs one execution at a time,
threads without that context count as its own, and the file descriptors 1 and 2
lead into pipes, so that subprocesses and C code are captured as well.
"""

import contextlib
import fcntl
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TextIO

from koco.events.model import Kind

#: A line longer than this is given up in pieces, so that it cannot fill the memory.
_LINE_CHARS = 64 * 1024
#: A pipe of this size seldom makes a subprocess wait for the reader (Linux's limit for users).
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031

Emit = Callable[[Kind, str], None]


class Output:
    """One execution's stdout and stderr, cut into lines."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._rest = {Kind.STDOUT: "", Kind.STDERR: ""}
        self._lock = threading.Lock()

    def write(self, kind: Kind, text: str) -> None:
        """Emit each line that `text` completes; keep the rest."""
        # A full spool makes `emit` wait: holding the lock keeps the lines in order.
        with self._lock:
            *lines, rest = (self._rest[kind] + text).split("\n")
            while len(rest) > _LINE_CHARS:
                lines.append(rest[:_LINE_CHARS])
                rest = rest[_LINE_CHARS:]
            self._rest[kind] = rest
            for line in lines:
                self._emit(kind, line.removesuffix("\r"))

    def finish(self) -> None:
        """Emit what never saw its newline."""
        for kind, rest in self._rest.items():
            if rest:
                self.write(kind, "\n")


current: ContextVar[Output | None] = ContextVar("koco_output", default=None)


class Capture:
    """This process's capture; `sole` is the only execution where there can be but one."""

    def __init__(self, *, dedicated: bool) -> None:
        self.dedicated = dedicated
        self.sole: Output | None = None
        self._pipes: dict[Kind, _Pipe] = {}

    def install(self) -> None:
        """Take over `sys.stdout` and `sys.stderr`, and the descriptors where that is right."""
        if self.dedicated:
            self._pipes[Kind.STDOUT] = _Pipe(1, Kind.STDOUT, self)
            self._pipes[Kind.STDERR] = _Pipe(2, Kind.STDERR, self)
            threading.Thread(target=self._pump, name="koco-capture", daemon=True).start()
        sys.stdout = _Stream(Kind.STDOUT, self, sys.stdout)
        sys.stderr = _Stream(Kind.STDERR, self, sys.stderr)

    def output(self) -> Output | None:
        """Return whose output is being written."""
        return current.get() or self.sole

    def drain(self, *kinds: Kind) -> None:
        """Read what subprocesses have written so far, to some or all kinds of output."""
        for kind in kinds or self._pipes:
            if pipe := self._pipes.get(kind):
                pipe.read()

    def _pump(self) -> None:
        poll = select.poll()
        pipes = {pipe.reader: pipe for pipe in self._pipes.values()}
        for reader in pipes:
            poll.register(reader, select.POLLIN)
        while True:
            for reader, _ in poll.poll():
                pipes[reader].read()


class _Pipe:
    """A file descriptor of this process, led into a pipe that is read without waiting."""

    def __init__(self, fd: int, kind: Kind, capture: Capture) -> None:
        self._kind = kind
        self._capture = capture
        self._former = os.dup(fd)
        self.reader, writer = os.pipe()
        # A smaller one works as well, only with more waiting.
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self.reader, False)
        os.dup2(writer, fd)
        os.close(writer)
        self._lock = threading.Lock()

    def read(self) -> None:
        with self._lock:
            while True:
                try:
                    data = os.read(self.reader, _PIPE_BYTES)
                except BlockingIOError:
                    return
                output = self._capture.sole
                if output is None:
                    os.write(self._former, data)
                else:
                    output.write(self._kind, data.decode("utf-8", "backslashreplace"))


class _Stream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, kind: Kind, capture: Capture, former: TextIO) -> None:
        self._kind = kind
        self._capture = capture
        self._former = former

    def write(self, text: str) -> int:
        # What a subprocess wrote before comes before, as in a terminal.
        self._capture.drain(self._kind)
        output = self._capture.output()
        if output is None:
            self._former.write(text)
        else:
            output.write(self._kind, text)
        return len(text)

    def flush(self) -> None:
        self._former.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._kind is Kind.STDOUT else 2

    def isatty(self) -> bool:
        return False

    @property
    def buffer(self) -> Any:
        """Bytes written here take the way of the text: decoded as UTF-8."""
        return _Bytes(self)


class _Bytes(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        text = bytes(data).decode("utf-8", "backslashreplace")
        return self._stream.write(text) if text else 0
