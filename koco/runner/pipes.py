"""The file descriptors 1 and 2 of a runner, led into pipes while an execution has it to itself.

The pipes are one execution's: a subprocess that it leaves behind writes to the runner's log, and
not to the next one's stream. Where it leaves none, the next one has the same pipes.
"""

import contextlib
import fcntl
import os
import selectors
import threading
from collections.abc import Callable, Mapping

from koco.events.model import Kind
from koco.runner.output import Output
from koco.runner.taken import Taken

#: A pipe of this size seldom makes a subprocess wait for the reader (Linux's limit for users).
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031

#: In the order in which a keeper is handed their pipes.
FDS = {Kind.STDOUT: 1, Kind.STDERR: 2}


class Pipes:
    """This process's pipes. `on_new` is called with the reading ends of those it has now."""

    def __init__(
        self,
        on_new: Callable[[list[int]], None] | None = None,
        *,
        taken: Mapping[Kind, Taken] | None = None,
    ) -> None:
        """`taken` are files that what is read survives in until it is an event."""
        self.logs = {kind: os.dup(fd) for kind, fd in FDS.items()}
        self._on_new = on_new or (lambda _: None)
        self._taken = taken or {}
        self._selector = selectors.DefaultSelector()
        self._pipes = {kind: self._new(kind) for kind in FDS}
        self._is_entered = False
        self._tell()
        threading.Thread(target=self._pump, name="koco-capture", daemon=True).start()

    def enter(self, output: Output) -> None:
        """Lead what is written to the descriptors into an execution's output."""
        former = list(self._pipes.values())
        for kind in FDS:
            if not self._pipes[kind].enter(output):
                self._pipes[kind] = self._new(kind)
                self._pipes[kind].enter(output)
        self._is_entered = True
        if former != list(self._pipes.values()):
            self._tell()

    def leave(self) -> None:
        """Lead the descriptors back to the log; who has a pipe yet is read to the end."""
        self._is_entered = False
        for pipe in self._pipes.values():
            pipe.leave()

    def drain(self, *kinds: Kind) -> None:
        """Read what subprocesses have written so far, to some or all kinds of output."""
        if self._is_entered:
            for kind in kinds or FDS:
                self._pipes[kind].read()

    def _new(self, kind: Kind) -> "_Pipe":
        return _Pipe(kind, self.logs[kind], self._selector, self._taken.get(kind))

    def _tell(self) -> None:
        self._on_new([pipe.reader for pipe in self._pipes.values()])

    def _pump(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data.read()


class _Pipe:
    """A pipe that is read without waiting, and used again where nobody writes to it any more."""

    def __init__(
        self, kind: Kind, log: int, selector: selectors.BaseSelector, taken: Taken | None
    ) -> None:
        self._kind = kind
        self._log = log
        self._selector = selector
        self._taken = taken
        self._lock = threading.Lock()
        self._output: Output | None = None
        #: Whether an execution may begin to use it; else its writers are waited for.
        self._is_free = True
        self._is_left = False
        self.reader, self._writer = os.pipe()
        # A smaller one works as well, only with more waiting.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self.reader, False)

    def enter(self, output: Output) -> bool:
        """Lead the descriptor here; False where others write to this pipe: it stays theirs."""
        with self._lock:
            if not self._is_free:
                self._is_left = True
                self._taken = None  # it is another pipe's from now on
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
        """Read what is there: no more than fits, for a subprocess may write for ever."""
        with self._lock:
            room = _PIPE_BYTES
            while room > 0 and not self._is_free:
                try:
                    data = self._take(room)
                except BlockingIOError:
                    return
                room -= len(data)
                if not data:
                    self._rest()
                elif not self._put(data):
                    write_all(self._log, data)
                if self._taken is not None:
                    self._taken.finish()

    def _put(self, data: bytes) -> bool:
        done = None if self._taken is None else self._taken.done
        return self._output is not None and self._output.write_bytes(self._kind, data, done)

    def _take(self, room: int) -> bytes:
        if self._taken is not None:
            try:
                return self._taken.read(self.reader, room)
            except BlockingIOError:
                raise
            except OSError:
                self._taken = None  # a full disk: better without
        return os.read(self.reader, room)

    def leave(self) -> None:
        """Lead the descriptor back to the log; who has the pipe yet is read to the end."""
        os.dup2(self._log, FDS[self._kind])
        self.read()

    def _rest(self) -> None:
        """Wait for the next execution: nobody writes here any more."""
        self._selector.unregister(self.reader)
        self._is_free, self._output = True, None
        if self._is_left:
            os.close(self.reader)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however much a write takes."""
    while data:
        data = data[os.write(fd, data) :]
