"""Cut one execution's stdout and stderr into lines, and track which execution a thread writes for.

A context variable holds the execution. Coroutines and `asyncio.to_thread` inherit it without
help. Threads and executors do not, so `patch_threads` makes them.
"""

import asyncio
import codecs
import functools
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from koco.events.model import Kind
from koco.runner.output.partial_lines import Kept, Lines
from koco.runner.output.pipe_buffer import PipeFile
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
_decoder_of_pipe = functools.partial(_decoder, "backslashreplace")

#: This process's id. It differs in a copy of a runner made by `fork`.
pid = os.getpid()


def _note_fork() -> None:
    global pid
    pid = os.getpid()


os.register_at_fork(after_in_child=_note_fork)


class _Partial:
    """The beginning of a line that has no newline yet: of one kind, from one thread."""

    __slots__ = ("kept", "parts", "pieces", "returned", "size")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        #: How many pieces of this line were emitted.
        self.pieces = 0
        #: Whether the last character was a carriage return, perhaps half of a line's end.
        self.returned = False
        #: Where it is kept in files, if it is.
        self.kept: Kept | None = None

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
        self._tasks: set[weakref.ref[asyncio.Task[Any]]] = set()
        self._emit = emit
        self._unfinished = lines
        self._lock = threading.Lock()
        self._is_open = True
        #: The files from which the receiver of a line moves it into its own, if there are any.
        self.kept: Kept | None = None
        #: Whether the line that is being emitted comes from a pipe.
        self.is_piped = False
        self._home: int | None = None
        self._partials: dict[tuple[Kind, int | None], _Partial] = {}
        #: Made for those kinds that subprocesses, or C code, write to.
        self._decoders = defaultdict[Kind, codecs.IncrementalDecoder](_decoder_of_pipe)

    def add_task(self, task: "asyncio.Task[Any]") -> None:
        """Record a task of the execution; called on its loop."""
        self._tasks.add(weakref.ref(task, self._tasks.discard))

    @property
    def tasks(self) -> "set[asyncio.Task[Any]]":
        """The recorded tasks that have not ended."""
        tasks = (ref() for ref in self._tasks.copy())  # a thread of a flow's may add one
        return {task for task in tasks if task is not None and not task.done()}

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
        pipe: PipeFile | None = None,
        *,
        is_piped: bool = False,
    ) -> bool:
        """Write bytes in the same way. The last bytes of a character may follow later.

        They are the last read of `pipe`, if that is given. `is_piped` says that they come from
        another process, or from C code.
        """
        with self._lock:
            if not self._is_open:
                return False
            self.is_piped = is_piped
            if pipe is None:
                self._add(kind, None, self._decoders[kind].decode(data))
            else:
                self._add_from_file(kind, data, pipe)
            self.is_piped = False
            return True

    def finish(self) -> None:
        """Emit lines that never got a newline, and take nothing more."""
        with self._lock:
            for kind, decoder in self._decoders.items():
                self._add(kind, None, decoder.decode(b"", final=True))
            for (kind, _), rest in self._partials.items():
                if rest.size or rest.pieces:
                    self._end(kind, rest)
            self._close()

    def finish_if_empty(self) -> bool:
        """Do the same if there is nothing left to emit; return whether that was so. Never waits."""
        if not self._lock.acquire(blocking=False):
            return False  # a thread that the execution leaves behind writes just now
        try:
            rests = self._partials.values()
            is_empty = not (self._decoders or any(rest.size or rest.pieces for rest in rests))
            if is_empty:
                self._close()
            return is_empty
        finally:
            self._lock.release()

    def _close(self) -> None:
        if self._unfinished is not None:
            self._unfinished.close()
        self._is_open = False
        self._emit = _emit_nothing  # the function refers to this object

    def _add_from_file(self, kind: Kind, data: bytes, pipe: PipeFile) -> None:
        """Add data in pieces of which each becomes one event at most."""
        rest, decoder, at = self._partial(kind, None), self._decoders[kind], pipe.begin
        for each in data.splitlines(keepends=True):
            line = each
            while line:
                if rest.returned and not line.startswith(b"\n"):
                    rest.returned = False
                    if rest.size:
                        self._end(kind, rest)
                room = LINE_CHARS + secrets.masks.longest + 1 - rest.size
                piece, line = line[: max(room, 1)], line[max(room, 1) :]
                at += len(piece)
                text = decoder.decode(piece)
                # The last bytes of a character that is not complete stay in the file.
                held = 0 if piece.endswith((b"\n", b"\r")) else len(decoder.getstate()[0])
                if rest.kept is None:
                    rest.kept = self._begin(kind, None)
                rest.kept.set_pipe(pipe, max(at - held, pipe.done))
                self._add(kind, None, text)

    def _partial(self, kind: Kind, key: int | None) -> _Partial:
        rest = self._partials.get((kind, key))
        if rest is None:
            rest = self._partials[kind, key] = _Partial()
        return rest

    def _begin(self, kind: Kind, key: int | None) -> Kept:
        if self._unfinished is None:
            return Kept()
        return self._unfinished.begin(kind, is_first=key is None)

    def _add(self, kind: Kind, key: int | None, text: str) -> None:
        rest = self._partial(kind, key)
        if rest.returned or "\r" in text:
            self._add_returning(kind, rest, text)
        else:
            *lines, tail = text.split("\n")
            for line in lines:
                self._hold(kind, rest, line)
                self._end(kind, rest)
            self._hold(kind, rest, tail)
        if rest.kept is None and rest.size and self._unfinished is not None:
            rest.kept = self._begin(kind, key)
        if (kept := rest.kept) is not None and (rest.size or kept.is_used):
            # Keep an unfinished line in a file, so that it survives this process. A longer one
            # stays in the file of its pipe.
            is_kept = rest.size <= _KEPT_CHARS or self._unfinished is None
            if is_kept:
                kept.keep("".join(rest.parts) + "\r" * rest.returned)
        if key is not None and not (rest.size or rest.returned):
            del self._partials[kind, key]  # else it would grow, because threads come and go
            if rest.kept is not None and self._unfinished is not None:
                self._unfinished.release(rest.kept)

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
                piece, whole = whole[:LINE_CHARS], whole[LINE_CHARS:]
                self._send(kind, rest, piece, left=whole)
                rest.pieces += 1
            rest.parts, rest.size = [whole], len(whole)

    def _end(self, kind: Kind, rest: _Partial) -> None:
        size = rest.size
        self._send(kind, rest, rest.take())
        if rest.pieces:
            size += rest.pieces * LINE_CHARS
            pieces, rest.pieces = rest.pieces + 1, 0
            said = f"koco: a line of {size:,} characters on {kind} came in {pieces} pieces"
            self._emit(Kind.STDERR, said)

    def _send(self, kind: Kind, rest: _Partial, text: str, *, left: str = "") -> None:
        """Emit a line, so that it leaves the files in which its beginning is kept."""
        kept = rest.kept
        if kept is None or not kept.is_used:
            self._emit(kind, text)
            return
        kept.stage(left)
        self.kept = kept
        try:
            self._emit(kind, text)
        finally:
            self.kept = None
        kept.settle()


def _emit_nothing(kind: Kind, text: str) -> None:
    """Stand in for the function of an execution that has ended."""


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
