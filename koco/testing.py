"""Run a flow in a test: in this process, without Ray, and look at everything that it wrote.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

The flow's form checks the inputs, the entrypoint is called as a runner calls it, and its output
is captured as events. Nothing is stored.
"""

import asyncio
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from koco import file_paths
from koco.client.answers import File
from koco.errors import NotFoundError
from koco.events import datetimes, line
from koco.events.model import Kind, Status
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
from koco.runner.flow import Flow, Run, load_flow
from koco.runner.output.capture import Capture
from koco.runner.output.lines import Output
from koco.sdk.endpoint.launch import Launch
from koco.sdk.entrypoints import loader
from koco.sdk.file_backend import Place
from koco.sdk.tracer import Tracer as _Tracer

__all__ = ["Event", "Outcome", "Tracer", "run", "submit"]

_FID = "0000000000000000"


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a follower sees it: `payload` is plain JSON data."""

    seq: int
    ts: str
    kind: str
    payload: Any


class _Memory:
    """A sink that keeps all events in memory."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.events: list[Event] = []
        #: Reasons why the test fails, even if its flow catches the error.
        self.failures: list[str] = []
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
        # Converted to JSON and back, except dates: a flow gets the answer in that form.
        dates = datetimes.find(answer)
        answer = msgspec.json.decode(line.encode_payload(answer))
        lease = {**named, "outcome": "answered", "answer": answer, "by": "test"}
        self.put(fid, line.encode(Kind.LEASE, lease))
        return LockOutcome(status="answered", answer=answer, moments=dates)

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


class Tracer(_Tracer):
    """A tracer that keeps its `events` for inspection, to test parts of a flow.

    `files` are the files that `fs()` and `fs_sync()` find, by path; the flow's changes are made
    there as well. `answers` are the answers to its locks: see `run`.
    """

    __slots__ = ("_memory", "files")

    def __init__(
        self, files: dict[str, bytes] | None = None, *, answers: Mapping[str, Any] | None = None
    ) -> None:
        self._memory = _Memory(answers or {})
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
        """The flow's questions for which the test has no answer."""
        return self._memory.failures


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: its `result` if it finished, or else `error` (type, message, traceback)."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    #: The files in `out/` at the end, by path.
    files: dict[str, bytes] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[Any]:
        """Return the payloads of the events of a kind."""
        return [event.payload for event in self.events if event.kind == kind]


def run(
    flow: str | Callable[..., Any],
    inputs: dict[str, Any] | None = None,
    *,
    form: list[dict[str, Any]] | None = None,
    files: dict[str, bytes] | None = None,
    answers: Mapping[str, Any] | None = None,
) -> Outcome:
    """Run a flow to its end.

    Args:
        flow: the entrypoint, as `module:object` or the callable itself.
        inputs: the user's inputs; the form converts strings.
        form: the manifest's `inputs`, if it has some.
        files: the user's uploaded files, by path: `{"in/a.txt": b"…"}`.
        answers: a person's answers by the name of the lock: a value, a list of values to use one
            after the other, or a function of the lock's data. An exception
            (`TimeoutError()`, for example) is raised in the flow.

    Raises:
        InputsError: the inputs do not pass the form.
        AssertionError: the flow waits for an answer that the test does not give.
    """
    found = load_flow("test", flow, form)
    given = inputs or {}
    if found.form is not None:
        found.form.validate(given)
    tracer = Tracer(files, answers=answers)
    outcome = asyncio.run(_run(found, given, tracer))
    for failure in tracer.failures:
        raise AssertionError(failure)
    return outcome


async def _run(flow: Flow, inputs: dict[str, Any], tracer: Tracer) -> Outcome:
    output = Output(tracer.note)
    stdout, stderr = sys.stdout, sys.stderr
    capture = Capture(dedicated=False)
    capture.install()
    try:
        loop = asyncio.get_running_loop()
        ended = await Run(flow, inputs, tracer=tracer, output=output, loop=loop).outcome()
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    capture.end(output)
    if ended.kind is not None:
        tracer.note(ended.kind, ended.payload)
    last = tracer.events[-1].payload if ended.kind is not None else None
    is_final = ended.kind is Kind.FINAL
    return Outcome(
        ended.status,
        last if is_final else None,
        None if is_final else last,
        tracer.events,
        {path: data for path, data in tracer.files.items() if path.startswith("out/")},
    )


def submit(
    app: Any, inputs: dict[str, Any] | None = None, path: str = "/", *, user: str = "tester"
) -> Launch:
    """Ask a service's own endpoint what it would launch, without launching it.

    The form of the `enter` route checks the inputs, and its handler is called. The returned
    launch has the inputs that the flow would get.

    Args:
        app: the `ServeAPI`, or its name as in the manifest's `app`: `module:object`.
        inputs: the user's inputs.
        path: the route.
        user: the `request.state.user` that the handler sees.

    Raises:
        InputsError: the form or the handler refuses the inputs.
        NotFoundError: there is no such route.
        UsageError: the handler returned no `Launch`.
        DeployError: there is no such app, or the entrypoint of the launch does not exist.
        Exception: anything else that the handler raises.
    """
    from koco.sdk.endpoint.serving import serve_api_of

    path_of_app = app if isinstance(app, str) else "test:app"
    found = serve_api_of(loader.find(app) if isinstance(app, str) else app, path_of_app)
    if path not in found.enters:
        known = ", ".join(found.enters) or "none"
        raise NotFoundError(f"the app has no enter route {path!r}", hint=f"it has: {known}")
    launch: Launch = asyncio.run(found.submit(path, inputs or {}, user=user))
    return launch
