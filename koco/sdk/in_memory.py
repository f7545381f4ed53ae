"""A tracer's sink and files in memory, for tests of flows: no control plane takes part."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from koco import file_paths
from koco.client.answers import File
from koco.errors import InputsError, NotFoundError
from koco.events import datetimes, line
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
from koco.sdk import tracer
from koco.sdk.file_backend import Place

#: The id of an execution in a test.
_FID = "0000000000000000"


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a follower sees it: `payload` is plain JSON data."""

    seq: int
    ts: str
    kind: str
    payload: Any


#: Turns a person's answer to a lock into the flow's value, and the dates in it. None: unchanged.
Lease = Callable[[OpenLock, Any], tuple[Any, datetimes.Moments] | None]


class _Memory:
    """A sink that keeps all events in memory."""

    def __init__(self, answers: Mapping[str, Any], lease: Lease) -> None:
        self.events: list[Event] = []
        #: Reasons why the test fails, even if its flow catches the error.
        self.failures: list[str] = []
        self._lease = lease
        self._lock = threading.Lock()
        self._answers = {
            name: list(each) if isinstance(each, list) else each for name, each in answers.items()
        }
        self._open: dict[str, OpenLock] = {}

    def put(self, fid: str, event: bytes) -> None:
        with self._lock:
            self.events.append(Event(**line.decode(len(self.events) + 1, event)))

    async def put_async(self, fid: str, event: bytes) -> None:
        self.put(fid, event)

    def record(self, fid: str, event: bytes) -> None:
        raise NotImplementedError

    def commit(self, fid: str, event: bytes) -> None:
        raise NotImplementedError

    async def commit_async(self, fid: str, event: bytes) -> None:
        raise NotImplementedError

    def ask(self, fid: str, question: Question[A]) -> Any:
        match question:
            case AccessFiles():
                return FileAccess(url="", token="")  # no access is needed: see `_Place`
            case OpenLock():
                self._open[question.lid] = question
                lock = {"lid": question.lid, "name": question.name, "data": question.data}
                expires = line.timestamp(time.time() + question.timeout_s)
                self.put(fid, line.encode(Kind.LOCK, {**lock, "expires": expires}))
            case WaitForLock():
                return self._answer_lock(fid, self._open[question.lid])
            case WithdrawLock():
                pass  # a flow that gives up a lock ignores its answer
            case _:
                raise TypeError(f"a test cannot answer {question.NAME!r}")
        return None

    async def ask_async(self, fid: str, question: Question[A]) -> Any:
        return self.ask(fid, question)

    def _answer_lock(self, fid: str, lock: OpenLock) -> LockOutcome:
        """Answer a lock as a person would; raise the test's exception if it has one."""
        answer = self._answer(lock)
        named = {"lid": lock.lid, "name": lock.name}
        if isinstance(answer, BaseException):
            self.put(fid, line.encode(Kind.LEASE, {**named, "outcome": "expired"}))
            raise answer
        try:
            answer, dates = self._lease(lock, answer) or (answer, datetimes.find(answer))
        except InputsError as exc:
            if self._has_more(lock):
                return self._answer_lock(fid, lock)  # it is still open
            refused = f"the lock {lock.name!r} refuses the test's answer: {exc.message}"
            self.failures.append(refused)
            raise AssertionError(refused) from exc
        except AssertionError as exc:
            self.failures.append(str(exc))
            raise
        # Converted to JSON and back, except dates: a flow gets the answer in that form.
        answer = msgspec.json.decode(line.encode_payload(answer))
        lease = {**named, "outcome": "answered", "answer": answer, "by": "test"}
        self.put(fid, line.encode(Kind.LEASE, lease))
        return LockOutcome(status="answered", answer=answer, moments=dates)

    def _has_more(self, lock: OpenLock) -> bool:
        """Return whether the test has a list of answers for a lock, with another one in it."""
        return isinstance(left := self._answers.get(lock.name), list) and bool(left)

    def _answer(self, lock: OpenLock) -> Any:
        with self._lock:
            answer = self._answers.get(lock.name, [])
            if isinstance(answer, list):
                if not answer:
                    self.failures.append(f"the test has no answer for the lock {lock.name!r}")
                    return AssertionError(self.failures[-1])
                answer = answer.pop(0)
        is_asked = callable(answer) and not isinstance(answer, BaseException)
        return answer(lock.data) if is_asked else answer

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        raise TypeError("a testing tracer stays in its process: call the task's function itself")


class _Place(Place):
    """An execution's files in memory (see `koco.sdk.file_backend`)."""

    def __init__(self, content: dict[str, bytes], note_event: Callable[[Kind, Any], None]) -> None:
        self._content = content
        self._note = note_event

    def ls(self, path: str) -> list[File]:
        found = [name for name in sorted(self._content) if file_paths.is_within(name, path)]
        if not found and path not in file_paths.ROOTS:
            raise NotFoundError(f"there is no file {path!r}")
        return [self._about(name) for name in found]

    def read(self, file: File) -> Iterator[bytes]:
        yield self._content[file["path"]]

    def fetch(self, file: File, dest: Path) -> None:
        dest.write_bytes(self._content[file["path"]])

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        self._content[path] = source.read_bytes()
        self._note(Kind.UPLOAD, self._about(path))

    def remove(self, path: str) -> None:
        for file in self.ls(path):
            self._note(Kind.UPLOAD, {**self._about(file["path"]), "removed": True})
            del self._content[file["path"]]

    def close(self) -> None:
        pass

    def _about(self, path: str) -> File:
        data = self._content[path]
        sha256 = hashlib.sha256(data).hexdigest()
        by = "flow" if path.startswith("out/") else "test"
        return {
            "path": path,
            "size_bytes": len(data),
            "sha256": sha256,
            "created": line.timestamp(),
            "by": by,
        }


class Tracer(tracer.Tracer):
    """A tracer that keeps its `events` for inspection, to test parts of a flow.

    `files` are the files that `fs()` and `fs_sync()` find, by path; the flow's changes are made
    there as well. `answers` are the answers to its locks: see `run`. `lease` makes what the flow
    gets of them.
    """

    __slots__ = ("_memory", "files")

    def __init__(
        self,
        files: dict[str, bytes] | None = None,
        *,
        answers: Mapping[str, Any] | None = None,
        lease: Lease = lambda lock, answer: None,
    ) -> None:
        self._memory = _Memory(answers or {}, lease)
        self.files = {file_paths.path(name): bytes(data) for name, data in (files or {}).items()}
        super().__init__(_FID, self._memory)

    def _place(self, access: FileAccess) -> _Place:
        return _Place(self.files, self.note)

    def note(self, kind: Kind, payload: Any) -> None:
        """Write an event as koco itself writes it."""
        self._memory.put(self.fid, line.encode(kind, payload))

    @property
    def events(self) -> list[Event]:
        """The events that were written so far."""
        return self._memory.events

    @property
    def failures(self) -> list[str]:
        """The flow's questions for which the test has no answer, or none that is accepted."""
        return self._memory.failures
