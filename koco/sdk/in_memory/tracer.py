"""A tracer for tests: what it writes is kept in memory."""

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from koco import file_paths
from koco.errors import UsageError
from koco.events import line
from koco.events.model import Kind
from koco.events.questions import A, FileAccess, Question
from koco.sdk import tracer
from koco.sdk.in_memory.answers import Lease
from koco.sdk.in_memory.memory import Event, Memory
from koco.sdk.in_memory.place import Place
from koco.sdk.steps.journal import Journal

#: Called with the key of an outcome that was just recorded; returns whether to crash now.
Crash = Callable[[str], bool]


class Process:
    """The sink of one process of an execution. Once it has crashed, nothing of it is stored."""

    def __init__(self, memory: Memory, crash: Crash = lambda key: False) -> None:
        self._memory = memory
        self._crash = crash
        #: Whether nothing is stored of it any more.
        self.is_over = False
        #: The key of the outcome after which it crashed; None if it did not.
        self.crashed: str | None = None
        #: Called when it crashes.
        self.on_crash: Callable[[], object] = lambda: None

    def end(self) -> None:
        """Store nothing more."""
        self.is_over = True

    def put(self, fid: str, event: bytes, kept: object = None) -> None:
        """Store an event."""
        if not self.is_over:
            self._memory.put(event)

    async def put_async(self, fid: str, event: bytes) -> None:
        """Store an event."""
        self.put(fid, event)

    def record(self, fid: str, event: bytes) -> None:
        """Store a step's event and its record."""
        if not self.is_over:
            self._memory.keep(event)

    def commit(self, fid: str, event: bytes) -> None:
        """Store a step's event and its record; crash then if the test wants it.

        Raises:
            CancelledError: the process has crashed.
        """
        self._check()
        record = self._memory.keep(event)
        if record is not None and record.status.is_final:
            self._crash_after(record.key)

    async def commit_async(self, fid: str, event: bytes) -> None:
        """Do the same as `commit`."""
        self.commit(fid, event)

    def ask(self, fid: str, question: Question[A]) -> Any:
        """Answer a question; crash then if the test wants it.

        Raises:
            CancelledError: the process has crashed.
        """
        self._check()
        try:
            return self._memory.ask(question)
        finally:  # also if the test has an exception in place of an answer
            self._crash_after(self._memory.settled_by(question))

    async def ask_async(self, fid: str, question: Question[A]) -> Any:
        """Do the same as `ask`."""
        return self.ask(fid, question)

    def _check(self) -> None:
        if self.is_over:
            raise asyncio.CancelledError

    def _crash_after(self, key: str) -> None:
        if key and self._crash(key):
            self.crashed = key
            self.end()
            self.on_crash()
            raise asyncio.CancelledError

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        """Raise `UsageError`: a Ray task needs a control plane.

        It must not be a `TypeError`: Ray would replace that by a report of its own.
        """
        raise UsageError("a testing tracer stays in its process: call the task's function itself")


class Tracer(tracer.Tracer):
    """A tracer that keeps its `events` for inspection, to test parts of a flow.

    `files` are the files that `fs()` and `fs_sync()` find, by path; the flow's changes are made
    there as well. `answers`, `messages` and `children` are what comes to it from outside: see
    `run`. `lease` makes what the flow gets of the answers.
    """

    __slots__ = ("_memory", "files", "process")

    def __init__(
        self,
        files: dict[str, bytes] | None = None,
        *,
        answers: Mapping[str, Any] | None = None,
        messages: Mapping[str, Any] | None = None,
        children: Mapping[str, Any] | None = None,
        lease: Lease = lambda lock, answer: None,
    ) -> None:
        memory = Memory(answers=answers, messages=messages, children=children, lease=lease)
        self.files: MutableMapping[str, bytes] = {
            file_paths.path(name): bytes(data) for name, data in (files or {}).items()
        }
        self._begin(memory, Process(memory))

    def _begin(
        self,
        memory: Memory,
        process: Process,
        *,
        sink: tracer.Sink | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._memory = memory
        self.process = process
        sink = sink or process
        if journal is None:
            journal = Journal(memory.fid, sink, memory.records.past(), durable=True)
            journal.pauses = False
        super().__init__(memory.fid, sink, journal)

    @classmethod
    def of(
        cls,
        memory: Memory,
        process: Process,
        *,
        files: MutableMapping[str, bytes] | None = None,
        sink: tracer.Sink | None = None,
        journal: Journal | None = None,
    ) -> "Tracer":
        """Return the tracer of one process of an execution.

        Args:
            memory: what is stored of the execution.
            process: takes what the process writes.
            files: the execution's files.
            sink: stands in front of the process, if it is given.
            journal: the process's journal; None makes one of what is recorded.
        """
        made = cls.__new__(cls)
        made.files = {} if files is None else files
        made._begin(memory, process, sink=sink, journal=journal)
        return made

    def _place(self, access: FileAccess) -> Place:
        return Place(self.files, self.note)

    def note(self, kind: Kind, payload: Any) -> None:
        """Write an event as koco itself writes it."""
        self.process.put(self.fid, line.encode(kind, payload))

    @property
    def journal(self) -> Journal:
        """The journal of this process."""
        journal = tracer.journal_of(self)
        assert journal is not None
        return journal

    @property
    def memory(self) -> Memory:
        """What is stored of the execution."""
        return self._memory

    @property
    def events(self) -> list[Event]:
        """The events that were written so far."""
        return self._memory.events

    @property
    def failures(self) -> list[str]:
        """The flow's questions for which the test has no answer, or none that is accepted."""
        return self._memory.failures
