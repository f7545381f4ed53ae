"""Kodosumi's tracer: its joins, its events and its files, on the sink of koco's own tracer."""

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from koco.events.model import Kind
from koco.events.questions import AccessFiles, FileAccess
from koco.kodosumi.payloads import shaped
from koco.response import HTML, Markdown, Text
from koco.sdk import tracer
from koco.sdk.process import span
from koco.trace_context import Trace

if TYPE_CHECKING:
    from koco.kodosumi.files import AsyncFileSystem, SyncFileSystem
    from koco.sdk.file_backend import Place


def _lines(parts: tuple[Any, ...]) -> str:
    return "\n".join(map(str, parts))


def _paragraphs(parts: tuple[Any, ...]) -> str:
    return "\n\n".join(map(str, parts))


def _warning(parts: tuple[Any, ...], *, exc_info: bool) -> str:
    # Without an exception the traceback is one line that says so, as in Kodosumi.
    return _lines((*parts, traceback.format_exc()) if exc_info else parts)


class Tracer(tracer.Tracer):
    """Writes events to one execution's stream as Kodosumi does.

    Several texts become lines (`markdown`: paragraphs), and each value of `result` and `action` an
    event of its own. It may be passed to Ray tasks and actors on any node.
    """

    __slots__ = ("_origin",)

    def __init__(self, origin: tracer.Tracer) -> None:
        """Write to the execution of another tracer."""
        super().__init__(origin.fid, tracer.sink_of(origin), tracer.journal_of(origin))
        self._origin = origin
        self._trace = tracer.trace_of(origin)

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = self._sink.travel()
        return _arrive, (self.fid, make, arguments, span.present())

    def init(self) -> None:
        """Do nothing: koco captures the output of each process of an execution."""

    def shutdown(self) -> None:
        """Do nothing, as `init`."""

    @property
    def panel_url(self) -> str:
        """The URL of the control plane, as this node reaches it. Blocks for a moment."""
        return self._sink.ask(self.fid, AccessFiles()).url

    async def debug(self, *message: Any) -> None:
        """Write a `debug` event, with the parts as lines."""
        await self.emit(Kind.DEBUG, _lines(message))

    def debug_sync(self, *message: Any) -> None:
        """Write a `debug` event, with the parts as lines."""
        self.emit_sync(Kind.DEBUG, _lines(message))

    async def warning(self, *message: Any, exc_info: bool = False) -> None:
        """Write a `stderr` event, with the parts as lines, and the traceback if asked."""
        await self.emit(Kind.STDERR, _warning(message, exc_info=exc_info))

    def warning_sync(self, *message: Any, exc_info: bool = False) -> None:
        """Write a `stderr` event, with the parts as lines, and the traceback if asked."""
        self.emit_sync(Kind.STDERR, _warning(message, exc_info=exc_info))

    async def result(self, *message: Any) -> None:
        """Write a `result` event for each value."""
        for each in message:
            await self.emit(Kind.RESULT, shaped(each))

    def result_sync(self, *message: Any) -> None:
        """Write a `result` event for each value."""
        for each in message:
            self.emit_sync(Kind.RESULT, shaped(each))

    async def action(self, *message: Any) -> None:
        """Write an `action` event for each value."""
        for each in message:
            await self.emit(Kind.ACTION, shaped(each))

    def action_sync(self, *message: Any) -> None:
        """Write an `action` event for each value."""
        for each in message:
            self.emit_sync(Kind.ACTION, shaped(each))

    async def markdown(self, *message: Any) -> None:
        """Write a `result` event in Markdown, with a blank line between the parts."""
        await self.emit(Kind.RESULT, Markdown(_paragraphs(message)))

    def markdown_sync(self, *message: Any) -> None:
        """Write a `result` event in Markdown, with a blank line between the parts."""
        self.emit_sync(Kind.RESULT, Markdown(_paragraphs(message)))

    async def html(self, *message: Any) -> None:
        """Write a `result` event in HTML, with the parts as lines."""
        await self.emit(Kind.RESULT, HTML(_lines(message)))

    def html_sync(self, *message: Any) -> None:
        """Write a `result` event in HTML, with the parts as lines."""
        self.emit_sync(Kind.RESULT, HTML(_lines(message)))

    async def text(self, *message: Any) -> None:
        """Write a `result` event of plain text, with the parts as lines."""
        await self.emit(Kind.RESULT, Text(_lines(message)))

    def text_sync(self, *message: Any) -> None:
        """Write a `result` event of plain text, with the parts as lines."""
        self.emit_sync(Kind.RESULT, Text(_lines(message)))

    async def lock(self, name: str, data: Any = None, timeout: float | None = None) -> Any:
        """Ask a person; return the result of the service's `lease` handler.

        `timeout` is in seconds; None and 0 mean three hours. Raises `TimeoutError` if nobody
        answers in time.
        """
        return await super().lock(name, data, timeout or None)

    def lock_sync(self, name: str, data: Any = None, timeout: float | None = None) -> Any:
        """Ask a person, and block until there is an answer; see `lock`. Kodosumi has no such."""
        return super().lock_sync(name, data, timeout or None)

    async def fs(self) -> "AsyncFileSystem":  # type: ignore[override]  # Kodosumi's own files
        """Return the execution's files, to be awaited."""
        from koco.kodosumi.files import AsyncFileSystem, SyncFileSystem

        return AsyncFileSystem(SyncFileSystem((await super().fs()).files, self.fid))

    def fs_sync(self) -> "SyncFileSystem":  # type: ignore[override]  # as above
        """Return the execution's files, for plain functions and Ray tasks."""
        from koco.kodosumi.files import SyncFileSystem

        return SyncFileSystem(super().fs_sync(), self.fid)

    def _place(self, access: FileAccess) -> "Place":
        return self._origin._place(access)


def _arrive(
    fid: str,
    make: Callable[..., tracer.Sink],
    arguments: tuple[Any, ...],
    trace: Trace | None = None,
) -> Tracer:
    return Tracer(tracer.arrive(fid, make, arguments, trace))
