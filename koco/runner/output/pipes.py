"""Lead a runner's file descriptors 1 and 2 into pipes while an execution has the process to itself.

The pipes belong to one execution: if it leaves a subprocess behind, that writes to the runner's
log, and not to the next execution's stream. If it leaves none, the next one reuses the pipes.
"""

import contextlib
import fcntl
import os
import selectors
import struct
import termios
import threading
from collections.abc import Callable, Mapping
from typing import NoReturn

from koco.events.model import Kind
from koco.runner.output.lines import Output
from koco.runner.output.pipe_buffer import PipeFile

#: With a pipe of this size a subprocess seldom waits for the reader. (Linux's limit for users.)
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031
_INT = struct.Struct("i")

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
        threading.Thread(
            target=pump, args=(self._selector,), name="koco-capture", daemon=True
        ).start()

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

    def leave_if_empty(self, finish: Callable[[], bool]) -> bool:
        """Leave if the pipes are empty and `finish` returns True; return whether that was so.

        Never waits. `finish` is called while nobody reads the pipes, so nothing is under way.
        """
        with contextlib.ExitStack() as held:
            for pipe in self._pipes.values():
                if not pipe.lock.acquire(blocking=False):
                    return False
                held.callback(pipe.lock.release)
                if pipe.has_data():
                    return False
            if not finish():
                return False
        self.leave()
        return True

    def drain(self, *kinds: Kind) -> None:
        """Read what subprocesses have written so far to some or all kinds of output."""
        if self._is_entered:
            for kind in kinds or FDS:
                self._pipes[kind].read()

    def _new(self, kind: Kind) -> "_ReusedPipe":
        return _ReusedPipe(kind, self.logs[kind], self._selector, self._files.get(kind))

    def _announce(self) -> None:
        self._on_new([pipe.reader for pipe in self._pipes.values()])


def pump(selector: selectors.BaseSelector) -> NoReturn:
    """Read the registered pipes whenever they have data."""
    while True:
        for key, _ in selector.select():
            key.data.read()


class Pipe:
    """A pipe for one kind of an execution's output. Reading it never blocks."""

    def __init__(self, kind: Kind, log: int, selector: selectors.BaseSelector) -> None:
        self.kind = kind
        self.output: Output | None = None
        self.lock = threading.Lock()
        #: Whether it may have data, because it has writers.
        self.is_open = False
        self._is_watched = False
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._log = log
        self._selector = selector

    def open_for(self, output: Output) -> None:
        """Have the pipe read for an execution whenever it has data."""
        self.output, self.is_open = output, True
        self._watch()

    def has_data(self) -> bool:
        """Return whether something was written that is not read yet."""
        [size] = _INT.unpack(fcntl.ioctl(self.reader, termios.FIONREAD, bytes(_INT.size)))
        return bool(size)

    def read(self) -> None:
        """Read the pipe, up to its size, because a subprocess may write for ever."""
        with self.lock:
            room = _PIPE_BYTES
            while room > 0 and self.is_open:
                try:
                    data = self.take(room)
                except BlockingIOError:
                    return
                room -= len(data)
                if not data:
                    self._unwatch()
                    self.output, self.is_open = None, False
                    self.release()
                elif not self.pass_on(data):
                    with contextlib.suppress(OSError):
                        write_all(self._log, data)

    def take(self, room: int) -> bytes:
        """Return up to `room` bytes of data; empty if there is no writer left."""
        return os.read(self.reader, room)

    def _watch(self) -> None:
        self._selector.register(self.reader, selectors.EVENT_READ, self)
        self._is_watched = True

    def _unwatch(self) -> None:
        if self._is_watched:
            self._selector.unregister(self.reader)
            self._is_watched = False

    def pass_on(self, data: bytes) -> bool:
        """Write data to the execution; return False if that has ended."""
        output = self.output
        return output is not None and output.write_bytes(self.kind, data, is_piped=True)

    def release(self) -> None:
        """Called when the pipe has no writer left."""
        os.close(self.reader)


class _ReusedPipe(Pipe):
    """A pipe that is used again once it has no writer left."""

    def __init__(
        self, kind: Kind, log: int, selector: selectors.BaseSelector, file: PipeFile | None
    ) -> None:
        super().__init__(kind, log, selector)
        self._file = file
        self._is_left = False
        # A smaller pipe works as well, but makes writers wait more often.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.writer, _F_SETPIPE_SZ, _PIPE_BYTES)

    def enter(self, output: Output) -> bool:
        """Lead the descriptor here; return False if the pipe still has other writers."""
        with self.lock:
            if self.is_open:
                self._is_left = True
                self._file = None  # another pipe uses it from now on
                return False
            if self.writer < 0:
                try:
                    self.writer = os.open(f"/proc/self/fd/{self.reader}", os.O_WRONLY)
                except OSError:  # there is no /proc
                    os.close(self.reader)
                    return False
            if self._file is not None:
                self._file.clear()
            os.dup2(self.writer, FDS[self.kind])
            os.close(self.writer)
            self.writer = -1
            self.open_for(output)
            return True

    def take(self, room: int) -> bytes:
        """Return data by way of the file, unless the disk is full."""
        if self._file is not None:
            try:
                return self._file.read(self.reader, room)
            except BlockingIOError:
                raise
            except OSError:
                self._file = None  # a full disk: go on without it
        return super().take(room)

    def pass_on(self, data: bytes) -> bool:
        """Write data to the execution, and empty the file unless a long line is unfinished."""
        file, output = self._file, self.output
        is_taken = output is not None and output.write_bytes(self.kind, data, file, is_piped=True)
        if not is_taken:
            write_all(self._log, data)
        if file is not None and (file.is_done or not is_taken):
            file.clear()
        return True

    def leave(self) -> None:
        """Lead the descriptor back to the log. Writers that still have the pipe are read on."""
        with self.lock:
            # Or its end, which is read here, would wake the thread that reads as well.
            self._unwatch()
        os.dup2(self._log, FDS[self.kind])
        self.read()
        with self.lock:
            if self.is_open:
                self._watch()

    def release(self) -> None:
        """Keep the pipe for the next execution."""
        if self._is_left:
            super().release()


def write_all(fd: int, data: bytes) -> None:
    """Write all data, even if a single write takes only a part."""
    while data:
        data = data[os.write(fd, data) :]
