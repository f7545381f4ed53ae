"""One execution's stdout and stderr, as lines, and whose output a thread writes.

A context variable says whose: coroutines and `asyncio.to_thread` hand it on by
themselves. Threads and executors do not, so `carry` makes them.
"""

import codecs
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from koco.events.model import Kind
from koco.runner.unfinished import Lines
from koco.sdk import secrets
from koco.sdk.started import Started
from koco.sdk.tracer import Tracer

#: How much of a line without an end is kept in a file (characters).
_KEPT_CHARS = 4096
#: The longest line that stays whole (characters); a longer one comes in pieces of this size.
LINE_CHARS = 1024 * 1024

Emit = Callable[[Kind, str], None]

_decoder = codecs.getincrementaldecoder("utf-8")

#: This process's id, which a copy of a runner made by `fork` has another of.
pid = os.getpid()


def _note_fork() -> None:
    global pid
    pid = os.getpid()


os.register_at_fork(after_in_child=_note_fork)


class _Rest:
    """What has no newline so far, of one kind, from one thread."""

    __slots__ = ("is_kept", "parts", "pieces", "returned", "size")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        #: How many pieces of this line have been emitted.
        self.pieces = 0
        #: Whether a carriage return came last, which may be half of a line's end.
        self.returned = False
        #: Whether a file has some of it.
        self.is_kept = False

    def take(self) -> str:
        text = self.parts[0] if len(self.parts) == 1 else "".join(self.parts)
        self.parts, self.size = [], 0
        return text


class Output:
    """One execution's stdout and stderr, cut into lines.

    A line ends with a newline, or with a carriage return as progress bars have it.
    Threads that write at once have a line each; subprocesses share that of the
    thread that wrote first, so that half a line of either is followed by the rest.
    """

    def __init__(self, emit: Emit, *, lines: Lines | None = None) -> None:
        #: The execution's tracer, and what it has started in Ray, where that is recorded.
        self.tracer: Tracer | None = None
        self.started: Started | None = None
        self._emit = emit
        self._unfinished = lines
        self._lock = threading.Lock()
        self._is_open = True
        #: What whoever takes a line is to call as soon as that is kept, and nothing before.
        self.then: Callable[[], None] | None = None
        self._home: int | None = None
        self._rests: dict[tuple[Kind, int | None], _Rest] = {}
        self._decoders = {kind: _decoder("backslashreplace") for kind in (Kind.STDOUT, Kind.STDERR)}

    def write(self, kind: Kind, text: str) -> bool:
        """Emit each line that `text` completes, keep the rest; False once the execution is over."""
        thread: int | None = threading.get_ident()
        # A full spool makes `emit` wait: holding the lock keeps the lines in order.
        with self._lock:
            if self._home is None:
                self._home = thread
            if self._is_open:
                self._add(kind, None if thread == self._home else thread, text)
            return self._is_open

    def write_bytes(
        self, kind: Kind, data: bytes, done: Callable[[int], None] | None = None
    ) -> bool:
        """Do the same with bytes, a character's last ones of which may come later.

        `done` hears how many of them are kept elsewhere.
        """
        with self._lock:
            if not self._is_open:
                return False
            size = 0
            for piece in [data] if done is None else data.splitlines(keepends=True):
                size += len(piece)
                if done is not None:
                    self.then = functools.partial(done, size)
                self._add(kind, None, self._decoders[kind].decode(piece))
                if self.then is not None:
                    self.then()
            self.then = None
            return True

    def finish(self) -> None:
        """Emit what never saw its newline; take nothing more."""
        with self._lock:
            for kind, decoder in self._decoders.items():
                self._add(kind, None, decoder.decode(b"", final=True))
            for (kind, _), rest in self._rests.items():
                if rest.size or rest.pieces:
                    self._end(kind, rest)
            if self._unfinished is not None:
                self._unfinished.close()
            self._is_open = False

    def _add(self, kind: Kind, key: int | None, text: str) -> None:
        rest = self._rests.get((kind, key))
        if rest is None:
            rest = self._rests[kind, key] = _Rest()
        if rest.returned or "\r" in text:
            self._add_returning(kind, rest, text)
        else:
            *lines, tail = text.split("\n")
            for line in lines:
                self._hold(kind, rest, line)
                self._end(kind, rest)
            self._hold(kind, rest, tail)
        if self._unfinished is not None and (rest.size or rest.is_kept):
            self._keep(self._unfinished, kind, key, rest)
        if key is not None and not (rest.size or rest.returned):
            del self._rests[kind, key]  # threads come and go

    @staticmethod
    def _keep(lines: Lines, kind: Kind, key: int | None, rest: _Rest) -> None:
        """Have what is there of a line in a file, lest it be lost with this process."""
        rest.is_kept = bool(rest.size)
        if rest.size <= _KEPT_CHARS:
            lines.keep(kind, key, "".join(rest.parts))

    def _add_returning(self, kind: Kind, rest: _Rest, text: str) -> None:
        """Add text that has carriage returns: each ends a line, but no empty one."""
        text = "\r" * rest.returned + text
        rest.returned = text.endswith("\r")
        *lines, tail = text.removesuffix("\r").replace("\r\n", "\n").split("\n")
        for line in lines:
            self._hold(kind, rest, self._overwritten(kind, rest, line))
            self._end(kind, rest)
        self._hold(kind, rest, self._overwritten(kind, rest, tail))

    def _overwritten(self, kind: Kind, rest: _Rest, line: str) -> str:
        """Emit each state of a line but its last, which is returned."""
        *states, last = line.split("\r")
        for state in states:
            self._hold(kind, rest, state)
            if rest.size:
                self._end(kind, rest)
        return last

    def _hold(self, kind: Kind, rest: _Rest, text: str) -> None:
        if not text:
            return
        rest.parts.append(text)
        rest.size += len(text)
        # What a secret takes stays back: it must not stand where a line is cut.
        kept = secrets.masks.longest
        if rest.size > LINE_CHARS + kept:
            whole = secrets.mask(rest.take())
            while len(whole) > LINE_CHARS + kept:
                self._emit(kind, whole[:LINE_CHARS])
                rest.pieces += 1
                whole = whole[LINE_CHARS:]
            rest.parts, rest.size = [whole], len(whole)

    def _end(self, kind: Kind, rest: _Rest) -> None:
        size = rest.size
        self._emit(kind, rest.take())
        if rest.pieces:
            size += rest.pieces * LINE_CHARS
            pieces, rest.pieces = rest.pieces + 1, 0
            said = f"koco: a line of {size:,} characters on {kind} came in {pieces} pieces"
            self._emit(Kind.STDERR, said)


current: ContextVar[Output | None] = ContextVar("koco_output", default=None)


@functools.cache
def carry() -> None:
    """Have threads, and what executors are given, write to their starter's output."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def carrying_start(thread: threading.Thread) -> None:
        if (output := current.get()) is not None:
            thread.run = _carried(thread.run, output)  # type: ignore[method-assign]
        start(thread)

    def carrying_submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Also where there is none: the worker's thread may be another execution's.
        return submit(self, _carried(fn, current.get()), *args, **kwargs)

    threading.Thread.start = carrying_start  # type: ignore[assignment, method-assign]
    ThreadPoolExecutor.submit = carrying_submit  # type: ignore[method-assign]


def _carried(function: Callable[..., Any], output: Output | None) -> Callable[..., Any]:
    def carried(*args: Any, **kwargs: Any) -> Any:
        token = current.set(output)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return carried
