"""Turn the output of flows into events of the execution that printed it.

`sys.stdout` and `sys.stderr` are replaced by streams that look up the current execution in a
context variable (see `output`). In a process that runs one execution at a time, threads without
that context count as the execution's own. There, file descriptors 1 and 2 lead into pipes during
an execution, so the output of subprocesses and C code is captured as well (see `pipes`).
"""

import ctypes
import io
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from koco.events.model import Kind
from koco.runner.output import lines as outputs
from koco.runner.output.lines import Output, current, patch_threads
from koco.runner.output.pipe_buffer import PipeFile
from koco.runner.output.pipes import FDS, Pipes, write_all
from koco.runner.output.subprocesses import children
from koco.sdk.interruption import fence
from koco.sdk.interruption.library_locks import protect_shared_locks
from koco.sdk.tracer import Tracer

_LINE_BUFFERED = 1  # C's _IOLBF


class Capture:
    """This process's capture. `sole` is the running execution if there can only be one."""

    def __init__(
        self,
        *,
        dedicated: bool,
        on_pipes: Callable[[list[int]], None] | None = None,
        files: Mapping[Kind, PipeFile] | None = None,
    ) -> None:
        self.dedicated = dedicated
        self.sole: Output | None = None
        self._on_pipes = on_pipes
        self._files = files
        self._pipes: Pipes | None = None
        self._streams: tuple[_Stream, _Stream] | None = None
        self._flush_c: Callable[[], None] = lambda: None
        self._has_c_rest: Callable[[], bool] = lambda: True
        #: Captures subprocesses if several executions share the descriptors.
        self._children = None if dedicated else children()

    def install(self) -> None:
        """Take over `sys.stdout` and `sys.stderr`, and the descriptors if `dedicated`."""
        patch_threads()
        protect_shared_locks()
        if self.dedicated:
            self._pipes = Pipes(self._on_pipes, files=self._files)
        elif self._on_pipes is not None:
            self._on_pipes([])
        if self._pipes is not None:
            self._flush_c, self._has_c_rest = _line_buffer_c()
        self._streams = (
            _Stream(Kind.STDOUT, self, sys.stdout),
            _Stream(Kind.STDERR, self, sys.stderr),
        )
        sys.stdout, sys.stderr = self._streams

    def begin(self, output: Output) -> None:
        """Capture all of this process's output for an execution, if `dedicated`."""
        if self._pipes is None:
            return
        assert self._streams is not None
        # The previous execution may have replaced them.
        sys.stdout, sys.stderr = self._streams
        self.sole = output
        self._pipes.enter(output)

    def end(self, output: Output) -> None:
        """Read the remaining output of an execution and stop capturing for it."""
        if self._pipes is not None:
            for stream in self._streams or ():
                stream.flush()
            self._flush_c()
            self.drain()
            self.sole = None
            self._pipes.leave()
        if self._children is not None:
            self._children.end(output)
        output.finish()

    def end_if_empty(self, output: Output) -> bool:
        """Do the same if no output can remain; return whether that was so. Never waits."""
        if self._pipes is not None:
            if self._has_c_rest():
                return False
            for stream in self._streams or ():
                stream.flush()
            if not self._pipes.leave_if_empty(output.finish_if_empty):
                return False
            self.sole = None
            return True
        if self._children is None or self._children.has_pipes(output):
            return False
        return output.finish_if_empty()

    def output(self) -> Output | None:
        """Return the execution whose code is writing."""
        return current.get() or self.sole

    def tracer(self) -> Tracer | None:
        """Return the tracer of the execution whose code is running."""
        output = self.output()
        return output.tracer if output else None

    def log(self, kind: Kind) -> int | None:
        """Return the descriptor of the process's own log, if descriptors 1 and 2 are captured."""
        return self._pipes.logs[kind] if self._pipes is not None else None

    def drain(self, *kinds: Kind) -> None:
        """Read what subprocesses have written so far, to some or all kinds of output."""
        if self._pipes is not None:
            self._pipes.drain(*kinds)
        if self._children is not None and (output := current.get()) is not None:
            for kind in kinds or FDS:
                self._children.drain(output, kind)


class _Stream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`."""

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    line_buffering = True
    write_through = True

    def __init__(self, kind: Kind, capture: Capture, former: TextIO) -> None:
        self.name = f"<{kind}>"
        self._kind = kind
        self._capture = capture
        self._former = former
        self._pid = outputs.pid
        self._held = b""

    def write(self, text: str) -> int:
        if outputs.pid != self._pid:
            self._write_as_copy(text.encode("utf-8", self.errors))
            return len(text)
        with fence.inside():
            # Emit earlier output of subprocesses first, as in a terminal.
            self._capture.drain(self._kind)
            output = self._capture.output()
            if output is None or not output.write(self._kind, text):
                self._log(text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes: UTF-8 text, possibly only part of it."""
        if outputs.pid != self._pid:
            self._write_as_copy(data)
            return
        with fence.inside():
            self._capture.drain(self._kind)
            output = self._capture.output()
            if output is None or not output.write_bytes(self._kind, data):
                self._log(data.decode("utf-8", self.errors))

    def flush(self) -> None:
        """Flush the log. A flow's output needs no flush: a line is an event as soon as it ends."""
        if outputs.pid != self._pid:
            write_all(self.fileno(), self._held)
            self._held = b""
        else:
            self._former.flush()

    def _log(self, text: str) -> None:
        if (log := self._capture.log(self._kind)) is not None:
            # Not through the former stream, which may buffer it until the next execution.
            write_all(log, text.encode("utf-8", self.errors))
        else:
            self._former.write(text)

    def _write_as_copy(self, data: bytes) -> None:
        """Write whole lines in a forked process, whose descriptors lead into the pipes."""
        self._held += data
        if b"\n" in data:
            self.flush()

    def close(self) -> None:
        """Stay open, because the next execution prints as well."""

    def reconfigure(self, **_: Any) -> None:
        """Ignore this: lines become events in UTF-8, whatever encoding is asked for."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return FDS[self._kind]

    def isatty(self) -> bool:
        # A command that runs a flow in its own process still draws on its terminal.
        return self._capture.output() is None and self._former.isatty()

    @property
    def buffer(self) -> Any:
        """Return a stream for bytes, which are decoded as UTF-8 and written like text."""
        return _Bytes(self)


class _Bytes(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._stream.write_bytes(piece)
        return len(piece)


def _line_buffer_c() -> tuple[Callable[[], None], Callable[[], bool]]:
    """Make C's `printf` flush each line as it ends.

    Return a function that flushes the rest, and one that returns whether there may be a rest.
    """
    c = ctypes.CDLL(None)
    try:
        stdout = ctypes.c_void_p.in_dll(c, "stdout")
    except ValueError:
        return lambda: None, lambda: True  # this C library has another name for it
    c.setvbuf(stdout, None, _LINE_BUFFERED, 0)
    pending = getattr(c, "__fpending", None)
    if pending is None:
        return lambda: c.fflush(stdout), lambda: True
    pending.restype = ctypes.c_size_t
    return lambda: c.fflush(stdout), lambda: bool(pending(stdout))
