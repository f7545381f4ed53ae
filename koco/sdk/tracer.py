"""The tracer: a flow reports with it what it does, from any place where its code runs."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from koco.errors import UsageError
from koco.events import line, progress
from koco.events.model import Kind
from koco.events.questions import (
    A,
    AccessFiles,
    FileAccess,
    LockOutcome,
    OpenLock,
    Question,
    WaitForLock,
    WithdrawLock,
)
from koco.response import HTML, Markdown, Text
from koco.sdk import locks
from koco.sdk.process import span
from koco.sdk.steps.background import ask_in_background
from koco.sdk.steps.journal import Journal
from koco.sdk.steps.tracing import Steps
from koco.sdk.steps.waits import give_up
from koco.trace_context import Trace

if TYPE_CHECKING:
    from koco.sdk.file_backend import Place
    from koco.sdk.files import AsyncFiles, Files


class Sink(Protocol):
    """Takes an execution's encoded events, in order, and never drops one."""

    def put(self, fid: str, event: bytes) -> None:
        """Take an event; block while there is no room."""

    async def put_async(self, fid: str, event: bytes) -> None:
        """Take an event; wait while there is no room."""

    def record(self, fid: str, event: bytes) -> None:
        """Take a step's event without waiting. It is sent in order with the others."""

    def commit(self, fid: str, event: bytes) -> None:
        """Take a step's event, and block until it and everything before it is committed.

        Raises `asyncio.CancelledError` if the execution no longer belongs to this process.
        """

    async def commit_async(self, fid: str, event: bytes) -> None:
        """Do the same, without blocking."""

    def ask(self, fid: str, question: Question[A]) -> A:
        """Ask the control plane once all earlier events are committed; block for the answer.

        An answer may take hours. Raises the `KocoError` that the control plane answers
        with, and `asyncio.CancelledError` if the execution is cancelled meanwhile.
        """
        ...

    async def ask_async(self, fid: str, question: Question[A]) -> A:
        """Do the same, without blocking."""
        ...

    def travel(self) -> tuple[Callable[..., "Sink"], tuple[Any, ...]]:
        """Return a function and its arguments that make an equivalent sink in another process."""
        ...


#: The kinds that a flow may write. The others report what happened to it; koco writes them.
_ALLOWED = frozenset({Kind.AGENT, Kind.DEBUG, Kind.STDOUT, Kind.STDERR, Kind.ACTION, Kind.RESULT})


def _allowed(kind: Kind) -> Kind:
    if kind not in _ALLOWED:
        raise UsageError(
            f"a flow cannot write an event of kind {kind!s}",
            hint=f"it may write: {', '.join(sorted(_ALLOWED))}",
        )
    return kind


def _payload(values: tuple[Any, ...]) -> Any:
    """Return a single value unchanged, several as a list."""
    return values[0] if len(values) == 1 else list(values)


def _text(parts: tuple[Any, ...]) -> str:
    return " ".join(map(str, parts))


def _tail() -> str:
    return "\n" + traceback.format_exc().rstrip() if sys.exc_info()[0] else ""


class Tracer(Steps):
    """Writes events to one execution's stream.

    Each method has two forms: an awaitable one for `async def`, and `…_sync` for plain functions
    and threads. A tracer may be passed to Ray tasks and actors on any node. Values may be of any
    type: those that are not JSON are kept as their `repr`.
    """

    __slots__ = ("_journal", "_sink", "_trace", "fid")

    def __init__(self, fid: str, sink: Sink, journal: Journal | None = None) -> None:
        #: The id of the execution.
        self.fid = fid
        self._sink = sink
        #: Only in the flow's own process: a Ray task has none.
        self._journal = journal
        #: Only where it has arrived: the span that was current where it was sent.
        self._trace: Trace | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = self._sink.travel()
        return arrive, (self.fid, make, arguments, span.present())

    def __repr__(self) -> str:
        return f"Tracer({self.fid!r})"

    def emit_sync(self, kind: Kind, payload: Any) -> None:
        """Write an event of a kind that flows may write; block while the buffer is full."""
        self._put(_allowed(kind), payload)

    async def emit(self, kind: Kind, payload: Any) -> None:
        """Write an event of a kind that flows may write; wait while the buffer is full."""
        await self._put_async(_allowed(kind), payload)

    def _put(self, kind: Kind, payload: Any) -> None:
        self._check()
        self._sink.put(self.fid, line.encode(kind, payload))

    async def _put_async(self, kind: Kind, payload: Any) -> None:
        if self._journal is not None and self._journal.failure is not None:
            await self._journal.refuse_async()
        await self._sink.put_async(self.fid, line.encode(kind, payload))

    def _check(self) -> None:
        """Raise `NonDeterministic` again, if the flow has caught it."""
        if self._journal is not None and self._journal.failure is not None:
            raise self._journal.failure

    async def debug(self, *text: Any) -> None:
        """Write a `debug` event: the parts joined by spaces."""
        await self.emit(Kind.DEBUG, _text(text))

    def debug_sync(self, *text: Any) -> None:
        """Write a `debug` event: the parts joined by spaces."""
        self.emit_sync(Kind.DEBUG, _text(text))

    async def warning(self, *text: Any, exc_info: bool = False) -> None:
        """Write a `stderr` event, with the current exception's traceback if asked."""
        await self.emit(Kind.STDERR, _text(text) + (_tail() if exc_info else ""))

    def warning_sync(self, *text: Any, exc_info: bool = False) -> None:
        """Write a `stderr` event, with the current exception's traceback if asked."""
        self.emit_sync(Kind.STDERR, _text(text) + (_tail() if exc_info else ""))

    async def result(self, *values: Any) -> None:
        """Write a `result` event: a single value unchanged, several as a list."""
        await self.emit(Kind.RESULT, _payload(values))

    def result_sync(self, *values: Any) -> None:
        """Write a `result` event: a single value unchanged, several as a list."""
        self.emit_sync(Kind.RESULT, _payload(values))

    async def action(self, *values: Any) -> None:
        """Write an `action` event: a single value unchanged, several as a list."""
        await self.emit(Kind.ACTION, _payload(values))

    def action_sync(self, *values: Any) -> None:
        """Write an `action` event: a single value unchanged, several as a list."""
        self.emit_sync(Kind.ACTION, _payload(values))

    async def markdown(self, *text: Any) -> None:
        """Write a `result` event that is shown as Markdown."""
        await self.emit(Kind.RESULT, Markdown(*text))

    def markdown_sync(self, *text: Any) -> None:
        """Write a `result` event that is shown as Markdown."""
        self.emit_sync(Kind.RESULT, Markdown(*text))

    async def html(self, *text: Any) -> None:
        """Write a `result` event that is HTML."""
        await self.emit(Kind.RESULT, HTML(*text))

    def html_sync(self, *text: Any) -> None:
        """Write a `result` event that is HTML."""
        self.emit_sync(Kind.RESULT, HTML(*text))

    async def text(self, *text: Any) -> None:
        """Write a `result` event that is plain text."""
        await self.emit(Kind.RESULT, Text(*text))

    def text_sync(self, *text: Any) -> None:
        """Write a `result` event that is plain text."""
        self.emit_sync(Kind.RESULT, Text(*text))

    async def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Say how far the flow is: `done` of `total`, and what it does just now.

        Raises:
            UsageError: `done` or `total` is not a number from 0 on, `total` is 0, or `message` is
                not a text.
        """
        told = progress.check(done, total, message)
        await self._put_async(Kind.PROGRESS, told.to_payload())

    def progress_sync(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Say how far the flow is; see `progress`."""
        self._put(Kind.PROGRESS, progress.check(done, total, message).to_payload())

    def lock(
        self, name: str, data: Any = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Ask a person, and wait for the answer, which may be any JSON value.

        Args:
            name: the lock's name; the person sees the service's form of that name.
            data: any JSON value, to be shown to the person.
            timeout: how long to wait at most (seconds); three hours by default.

        Raises:
            TimeoutError: there was no answer in time.
            UsageError: the name or the timeout is invalid.
        """
        if self._journal is not None and self._journal.is_closed:
            return self._journal.refuse_async()
        lock = locks.question(name, data, timeout, place=self._lock_place)
        return self._wait_for(lock)

    async def _wait_for(self, lock: OpenLock) -> Any:
        if (settled := self._settled(lock)) is not None:
            if settled.status == "withdrawn" and self._journal is not None:
                await give_up(self._journal)
            return locks.answer(lock, settled)
        with self._waiting(lock):
            try:
                await self._sink.ask_async(self.fid, lock)
                outcome = await self._sink.ask_async(self.fid, WaitForLock(lid=lock.lid))
            except asyncio.CancelledError:
                # The flow gave up (with `asyncio.wait_for`, for example), so it needs no answer.
                # If it is parked, it still does.
                if self._journal is None or not self._journal.is_closed:
                    withdrawing = self._sink.ask_async(self.fid, WithdrawLock(lid=lock.lid))
                    ask_in_background(withdrawing)
                raise
        return locks.answer(lock, outcome)

    def lock_sync(self, name: str, data: Any = None, timeout: float | None = None) -> Any:
        """Ask a person, and block until there is an answer; see `lock`."""
        lock = locks.question(name, data, timeout, place=self._lock_place)
        if (settled := self._settled(lock)) is not None:
            return locks.answer(lock, settled)
        with self._waiting(lock):
            self._sink.ask(self.fid, lock)
            outcome = self._sink.ask(self.fid, WaitForLock(lid=lock.lid))
        return locks.answer(lock, outcome)

    def _lock_place(self, name: str, data: Any) -> locks.Place:
        if self._journal is None:
            return locks.Place()
        return locks.Place(*self._journal.lock_place(name, data))

    def _settled(self, lock: OpenLock) -> LockOutcome | None:
        return None if self._journal is None else self._journal.settled_lock(lock.lid)

    def _waiting(self, lock: OpenLock) -> AbstractContextManager[None]:
        if self._journal is None:
            return nullcontext()
        return self._journal.wait(self._journal.locks, lock.lid, lock.name)

    async def fs(self) -> "AsyncFiles":
        """Return the execution's files, for `async with`."""
        from koco.sdk.files import AsyncFiles, Files

        access = await self._sink.ask_async(self.fid, AccessFiles())
        return AsyncFiles(Files(self._place(access)))

    def fs_sync(self) -> "Files":
        """Return the execution's files, for `with`."""
        from koco.sdk.files import Files

        return Files(self._place(self._sink.ask(self.fid, AccessFiles())))

    def _place(self, access: FileAccess) -> "Place":
        from koco.sdk.file_backend import Place

        return Place(self.fid, url=access.url, token=access.token)


#: Called with each tracer that arrives from another process.
on_arrival: Callable[[Tracer], None] | None = None


def sink_of(tracer: Tracer) -> Sink:
    """Return where a tracer's events go."""
    return tracer._sink


def journal_of(tracer: Tracer) -> Journal | None:
    """Return the journal of a tracer's execution; None outside of the flow's own process."""
    return tracer._journal


def trace_of(tracer: Tracer) -> Trace | None:
    """Return the span that was current where a tracer that has arrived here was sent."""
    return tracer._trace


def arrive(
    fid: str, make: Callable[..., Sink], arguments: tuple[Any, ...], trace: Trace | None = None
) -> Tracer:
    """Return the tracer that another process has sent here; `make` makes its sink."""
    tracer = Tracer(fid, make(*arguments))
    tracer._trace = trace
    if on_arrival is not None:
        on_arrival(tracer)
    return tracer
