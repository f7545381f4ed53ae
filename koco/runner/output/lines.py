"""Cut one execution's stdout and stderr into lines, and track which execution a thread writes for.

A context variable holds the execution. Coroutines and `asyncio.to_thread` inherit it without
help. Threads and executors do not, so `patch_threads` makes them.
"""

import codecs
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from koco.events.model import Kind
from koco.runner.output.partial_lines import Lines
from koco.sdk.process import secrets
from koco.sdk.ray_work.registry import Started
from koco.sdk.steps import places
from koco.sdk.tracer import Tracer

#: An unfinished line is kept in a file up to this length (characters).
_KEPT_CHARS = 4096
#: The longest line that stays whole (characters); a longer one is cut into pieces of this size.
LINE_CHARS = 1024 * 1024

Emit = Callable[[Kind, str], None]

_decoder = codecs.getincrementaldecoder("utf-8")

#: This process's id. It differs in a copy of a runner made by `fork`.
pid = os.getpid()


def _note_fork() -> None:
    global pid
    pid = os.getpid()


os.register_at_fork(after_in_child=_note_fork)


class _Partial:
    """The beginning of a line that has no newline yet: of one kind, from one thread."""

    __slots__ = ("is_kept", "parts", "pieces", "returned", "size")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        #: How many pieces of this line were emitted.
        self.pieces = 0
        #: Whether the last character was a carriage return, perhaps half of a line's end.
        self.returned = False
        #: Whether part of the line is in a file.
        self.is_kept = False

    def take(self) -> str:
        text = self.parts[0] if len(self.parts) == 1 else "".join(self.parts)
        self.parts, self.size = [], 0
        return text


class Output:
    """One execution's stdout and stderr, cut into lines.

    A line ends with a newline, or with a carriage return (as progress bars use it). Threads that
    write at the same time each have their own line. Subprocesses share a line with the thread
    that wrote first, so that half a line of either is followed by its other half.
    """

    def __init__(self, emit: Emit, *, lines: Lines | None = None) -> None:
        #: The execution's tracer, and its record of Ray tasks and actors, if there is one.
        self.tracer: Tracer | None = None
        self.started: Started | None = None
        #: The jobs that it has given to executors and that have not ended.
        self.jobs: set[Future[Any]] = set()
        self._emit = emit
        self._unfinished = lines
        self._lock = threading.Lock()
        self._is_open = True
        #: The receiver of a line calls this as soon as the line is kept, before anything else.
        self.on_kept: Callable[[], None] | None = None
        #: Whether the line that is being emitted comes from a pipe.
        self.is_piped = False
        self._home: int | None = None
        self._partials: dict[tuple[Kind, int | None], _Partial] = {}
        self._decoders = {kind: _decoder("backslashreplace") for kind in (Kind.STDOUT, Kind.STDERR)}

    def write(self, kind: Kind, text: str) -> bool:
        """Emit each line that `text` completes, keep the rest; return False after the end."""
        thread: int | None = threading.get_ident()
        # If the spool is full, `emit` waits: holding the lock keeps the lines in order.
        with self._lock:
            if self._home is None:
                self._home = thread
            if self._is_open:
                self._add(kind, None if thread == self._home else thread, text)
            return self._is_open

    def write_bytes(
        self,
        kind: Kind,
        data: bytes,
        done: Callable[[int], None] | None = None,
        *,
        is_piped: bool = False,
    ) -> bool:
        """Write bytes in the same way. The last bytes of a character may follow later.

        `done` is called with the number of bytes that are kept elsewhere. `is_piped` says that they
        come from another process, or from C code.
        """
        with self._lock:
            if not self._is_open:
                return False
            self.is_piped = is_piped
            size = 0
            for piece in [data] if done is None else data.splitlines(keepends=True):
                size += len(piece)
                if done is not None:
                    self.on_kept = functools.partial(done, size)
                self._add(kind, None, self._decoders[kind].decode(piece))
                if self.on_kept is not None:
                    self.on_kept()
            self.on_kept, self.is_piped = None, False
            return True

    def finish(self) -> None:
        """Emit lines that never got a newline, and take nothing more."""
        with self._lock:
            for kind, decoder in self._decoders.items():
                self._add(kind, None, decoder.decode(b"", final=True))
            for (kind, _), rest in self._partials.items():
                if rest.size or rest.pieces:
                    self._end(kind, rest)
            if self._unfinished is not None:
                self._unfinished.close()
            self._is_open = False

    def _add(self, kind: Kind, key: int | None, text: str) -> None:
        rest = self._partials.get((kind, key))
        if rest is None:
            rest = self._partials[kind, key] = _Partial()
        if rest.returned or "\r" in text:
            self._add_returning(kind, rest, text)
        else:
            *lines, tail = text.split("\n")
            for line in lines:
                self._hold(kind, rest, line)
                self._end(kind, rest)
            self._hold(kind, rest, tail)
        if self._unfinished is not None and (rest.size or rest.is_kept):
            # Keep an unfinished line in a file, so that it survives this process.
            rest.is_kept = bool(rest.size)
            if rest.size <= _KEPT_CHARS:
                self._unfinished.keep(kind, key, "".join(rest.parts))
        if key is not None and not (rest.size or rest.returned):
            del self._partials[kind, key]  # else it would grow, because threads come and go

    def _add_returning(self, kind: Kind, rest: _Partial, text: str) -> None:
        """Add text with carriage returns: each ends a line, but never an empty one."""
        text = "\r" * rest.returned + text
        rest.returned = text.endswith("\r")
        *lines, tail = text.removesuffix("\r").replace("\r\n", "\n").split("\n")
        for line in lines:
            self._hold(kind, rest, self._emit_overwritten(kind, rest, line))
            self._end(kind, rest)
        self._hold(kind, rest, self._emit_overwritten(kind, rest, tail))

    def _emit_overwritten(self, kind: Kind, rest: _Partial, line: str) -> str:
        """Emit each overwritten state of a line; return the last one."""
        *states, last = line.split("\r")
        for state in states:
            self._hold(kind, rest, state)
            if rest.size:
                self._end(kind, rest)
        return last

    def _hold(self, kind: Kind, rest: _Partial, text: str) -> None:
        if not text:
            return
        rest.parts.append(text)
        rest.size += len(text)
        # Hold back enough for a secret's value: a cut must not run through one.
        kept = secrets.masks.longest
        if rest.size > LINE_CHARS + kept:
            whole = secrets.mask(rest.take())
            while len(whole) > LINE_CHARS + kept:
                self._emit(kind, whole[:LINE_CHARS])
                rest.pieces += 1
                whole = whole[LINE_CHARS:]
            rest.parts, rest.size = [whole], len(whole)

    def _end(self, kind: Kind, rest: _Partial) -> None:
        size = rest.size
        self._emit(kind, rest.take())
        if rest.pieces:
            size += rest.pieces * LINE_CHARS
            pieces, rest.pieces = rest.pieces + 1, 0
            said = f"koco: a line of {size:,} characters on {kind} came in {pieces} pieces"
            self._emit(Kind.STDERR, said)


current: ContextVar[Output | None] = ContextVar("koco_output", default=None)


@functools.cache
def patch_threads() -> None:
    """Make threads and executors' jobs write to the execution that started them."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def start_with_output(thread: threading.Thread) -> None:
        if (output := current.get()) is not None:
            thread.run = _with_output(thread.run, output)  # type: ignore[method-assign]
            thread.koco_output = output  # type: ignore[attr-defined]
        start(thread)

    def submit_with_output(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        # Even without an execution: the worker's thread may belong to another one.
        output = current.get()
        job = submit(self, _with_output(fn, output), *args, **kwargs)
        if output is not None:
            output.jobs.add(job)
            job.add_done_callback(output.jobs.discard)
        return job

    threading.Thread.start = start_with_output  # type: ignore[assignment, method-assign]
    ThreadPoolExecutor.submit = submit_with_output  # type: ignore[method-assign]


def _with_output(function: Callable[..., Any], output: Output | None) -> Callable[..., Any]:
    branch = places.of_thread()

    def carried(*args: Any, **kwargs: Any) -> Any:
        token, former = current.set(output), places.here.set(branch)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)
            places.here.reset(former)

    return carried
