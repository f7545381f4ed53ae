"""Lead a runner's file descriptors 1 and 2 into pipes while an execution has the process to itself.

The pipes belong to one execution: if it leaves a subprocess behind, that writes to the runner's
log, and not to the next execution's stream. If it leaves none, the next one reuses the pipes.
"""

import contextlib
import fcntl
import os
import selectors
import threading
from collections.abc import Callable, Mapping

from koco.events.model import Kind
from koco.runner.output.lines import Output
from koco.runner.output.pipe_buffer import PipeFile

#: With a pipe of this size a subprocess seldom waits for the reader. (Linux's limit for users.)
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031

#: In the order in which their pipes are handed to the keeper.
FDS = {Kind.STDOUT: 1, Kind.STDERR: 2}


class Pipes:
    """This process's pipes. `on_new` is called with the reading ends of the current ones."""

    def __init__(
        self,
        on_new: Callable[[list[int]], None] | None = None,
        *,
        files: Mapping[Kind, PipeFile] | None = None,
    ) -> None:
        """`files` are the files that keep what is read until it has become an event."""
        self.logs = {kind: os.dup(fd) for kind, fd in FDS.items()}
        self._on_new = on_new or (lambda _: None)
        self._files = files or {}
        self._selector = selectors.DefaultSelector()
        self._pipes = {kind: self._new(kind) for kind in FDS}
        self._is_entered = False
        self._announce()
        threading.Thread(target=self._pump, name="koco-capture", daemon=True).start()

    def enter(self, output: Output) -> None:
        """Lead the descriptors' output into an execution's."""
        former = list(self._pipes.values())
        for kind in FDS:
            if not self._pipes[kind].enter(output):
                self._pipes[kind] = self._new(kind)
                self._pipes[kind].enter(output)
        self._is_entered = True
        if former != list(self._pipes.values()):
            self._announce()

    def leave(self) -> None:
        """Lead the descriptors back to the log. Writers that still have a pipe are read on."""
        self._is_entered = False
        for pipe in self._pipes.values():
            pipe.leave()

    def drain(self, *kinds: Kind) -> None:
        """Read what subprocesses have written so far to some or all kinds of output."""
        if self._is_entered:
            for kind in kinds or FDS:
                self._pipes[kind].read()

    def _new(self, kind: Kind) -> "_Pipe":
        return _Pipe(kind, self.logs[kind], self._selector, self._files.get(kind))

    def _announce(self) -> None:
        self._on_new([pipe.reader for pipe in self._pipes.values()])

    def _pump(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data.read()


class _Pipe:
    """A pipe that is read without blocking, and reused once it has no writer any more."""

    def __init__(
        self, kind: Kind, log: int, selector: selectors.BaseSelector, file: PipeFile | None
    ) -> None:
        self._kind = kind
        self._log = log
        self._selector = selector
        self._file = file
        self._lock = threading.Lock()
        self._output: Output | None = None
        #: Whether an execution may start using it; if not, it still has writers.
        self._is_free = True
        self._is_left = False
        self.reader, self._writer = os.pipe()
        # A smaller pipe works as well, but makes writers wait more often.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self.reader, False)

    def enter(self, output: Output) -> bool:
        """Lead the descriptor here; return False if the pipe still has other writers."""
        with self._lock:
            if not self._is_free:
                self._is_left = True
                self._file = None  # another pipe uses it from now on
                return False
            if self._writer < 0 and not self._reopen():
                os.close(self.reader)
                return False
            os.dup2(self._writer, FDS[self._kind])
            os.close(self._writer)
            self._writer = -1
            self._output, self._is_free = output, False
            self._selector.register(self.reader, selectors.EVENT_READ, self)
            return True

    def _reopen(self) -> bool:
        try:
            self._writer = os.open(f"/proc/self/fd/{self.reader}", os.O_WRONLY)
        except OSError:
            return False  # there is no /proc
        return True

    def read(self) -> None:
        """Read the pipe, up to its size, because a subprocess may write for ever."""
        with self._lock:
            room = _PIPE_BYTES
            while room > 0 and not self._is_free:
                try:
                    data = self._take(room)
                except BlockingIOError:
                    return
                room -= len(data)
                if not data:
                    self._release()
                elif not self._emit(data):
                    write_all(self._log, data)
                if self._file is not None:
                    self._file.clear()

    def _emit(self, data: bytes) -> bool:
        done = None if self._file is None else self._file.mark_done
        return self._output is not None and self._output.write_bytes(self._kind, data, done)

    def _take(self, room: int) -> bytes:
        if self._file is not None:
            try:
                return self._file.read(self.reader, room)
            except BlockingIOError:
                raise
            except OSError:
                self._file = None  # a full disk: go on without it
        return os.read(self.reader, room)

    def leave(self) -> None:
        """Lead the descriptor back to the log. Writers that still have the pipe are read on."""
        os.dup2(self._log, FDS[self._kind])
        self.read()

    def _release(self) -> None:
        """Wait for the next execution, because the pipe has no writer left."""
        self._selector.unregister(self.reader)
        self._is_free, self._output = True, None
        if self._is_left:
            os.close(self.reader)


def write_all(fd: int, data: bytes) -> None:
    """Write all data, even if a single write takes only a part."""
    while data:
        data = data[os.write(fd, data) :]
