"""Run a flow in a test: in this process, without Ray, with what it wrote at hand.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

Inputs are checked by the flow's form, the entrypoint is called as a runner calls
it, and its output is captured as events. Nothing is stored.
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

from koco import paths
from koco.errors import NotFoundError
from koco.events import line
from koco.events.model import Kind, Status
from koco.runner.capture import Capture
from koco.runner.flow import Flow, Run, loaded
from koco.runner.output import Output
from koco.sdk import entrypoint, moments
from koco.sdk.launch import Launch
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
    """A sink that keeps what it is given."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.events: list[Event] = []
        #: Why the test fails, whatever its flow makes of that.
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._answers = {
            name: list(each) if isinstance(each, list) else each for name, each in answers.items()
        }
        self._asked: dict[str, dict[str, Any]] = {}

    def put(self, fid: str, event: bytes) -> None:
        with self._lock:
            self.events.append(Event(**line.decode(len(self.events) + 1, event)))

    async def put_async(self, fid: str, event: bytes) -> None:
        self.put(fid, event)

    def ask(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        if question == "files.access":
            return {}  # nothing is needed for it: see `_Place`
        if question == "lock.open":
            self._asked[arguments["lid"]] = arguments
            told = {key: arguments[key] for key in ("lid", "name", "data")}
            expires = line.timestamp(time.time() + arguments["timeout_s"])
            self.put(fid, line.encode(Kind.LOCK, {**told, "expires": expires}))
            return {}
        if question == "lock.wait":
            return self._settle(fid, self._asked[arguments["lid"]])
        if question == "lock.withdraw":
            return {}  # whoever gives up a lock has no answer for it
        raise TypeError(f"a test cannot answer {question!r}")

    async def ask_async(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        return self.ask(fid, question, arguments)

    def _settle(self, fid: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a lock as a person would; raise what is to be raised in the flow."""
        answer = self._answer(asked)
        told = {"lid": asked["lid"], "name": asked["name"]}
        if isinstance(answer, BaseException):
            self.put(fid, line.encode(Kind.LEASE, {**told, "outcome": "expired"}))
            raise answer
        # As JSON has it, with its dates: that is what a flow gets.
        dates = moments.find(answer)
        answer = msgspec.json.decode(line.encode_payload(answer))
        lease = {**told, "outcome": "answered", "answer": answer, "by": "test"}
        self.put(fid, line.encode(Kind.LEASE, lease))
        return {"status": "answered", "answer": answer, "moments": dates}

    def _answer(self, asked: dict[str, Any]) -> Any:
        with self._lock:
            answer = self._answers.get(asked["name"], [])
            if isinstance(answer, list):
                if not answer:
                    return self._fail(f"the test has no answer for the lock {asked['name']!r}")
                answer = answer.pop(0)
        is_asked = callable(answer) and not isinstance(answer, BaseException)
        return answer(asked["data"]) if is_asked else answer

    def _fail(self, message: str) -> AssertionError:
        self.failures.append(message)
        return AssertionError(message)

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        raise TypeError("a testing tracer stays in its process: call the task's function itself")


class _Place:
    """An execution's files in memory (see `koco.sdk.places`)."""

    def __init__(self, content: dict[str, bytes], tell: Callable[[Kind, Any], None]) -> None:
        self._content = content
        self._tell = tell

    def ls(self, path: str) -> list[dict[str, Any]]:
        found = [name for name in sorted(self._content) if paths.is_within(name, path)]
        if not found and path not in paths.ROOTS:
            raise NotFoundError(f"there is no file {path!r}")
        return [{**self._about(name), "created": line.timestamp()} for name in found]

    def read(self, file: dict[str, Any]) -> Iterator[bytes]:
        yield self._content[file["path"]]

    def fetch(self, file: dict[str, Any], dest: Path) -> None:
        dest.write_bytes(self._content[file["path"]])

    def put(self, path: str, source: Path, check: Callable[[int], object]) -> None:
        self._content[path] = source.read_bytes()
        self._tell(Kind.UPLOAD, self._about(path))

    def remove(self, path: str) -> None:
        for file in self.ls(path):
            self._tell(Kind.UPLOAD, {**self._about(file["path"]), "removed": True})
            del self._content[file["path"]]

    def close(self) -> None:
        pass

    def _about(self, path: str) -> dict[str, Any]:
        data = self._content[path]
        sha256 = hashlib.sha256(data).hexdigest()
        by = "flow" if path.startswith("out/") else "test"
        return {"path": path, "size_bytes": len(data), "sha256": sha256, "by": by}


class Tracer(_Tracer):
    """A tracer whose `events` are there to be looked at, for testing parts of a flow.

    `files` are what `fs()` and `fs_sync()` find, by path, and what was made of them.
    `answers` are those to its locks: see `run`.
    """

    __slots__ = ("_memory", "files")

    def __init__(
        self, files: dict[str, bytes] | None = None, *, answers: Mapping[str, Any] | None = None
    ) -> None:
        self._memory = _Memory(answers or {})
        self.files = {paths.path(name): bytes(data) for name, data in (files or {}).items()}
        super().__init__(_FID, self._memory)

    def _place(self, access: dict[str, Any]) -> _Place:
        return _Place(self.files, self.note)

    def note(self, kind: Kind, payload: Any) -> None:
        """Write what koco itself writes."""
        self._memory.put(self.fid, line.encode(kind, payload))

    @property
    def events(self) -> list[Event]:
        """What was written so far."""
        return self._memory.events

    @property
    def failures(self) -> list[str]:
        """What the flow asked for that the test does not give."""
        return self._memory.failures


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: `result` where it finished, `error` (type, message, traceback) else."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    #: What is in `out/` at the end, by path.
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
        flow: the entrypoint, as `module:object` or itself.
        inputs: what a user would give; strings are fine where the form types them.
        form: the manifest's `inputs`, where it has some.
        files: what the user has uploaded, by path: `{"in/a.txt": b"…"}`.
        answers: by the name of a lock, what a person answers: a value, a list of
            values in turn, or a function of the lock's data. What is an exception
            (`TimeoutError()`, say) is raised in the flow.

    Raises:
        InputsError: the inputs do not pass the form.
        AssertionError: the flow waits for an answer that the test does not give.
    """
    found = loaded("test", flow, form)
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
    """Ask a service's own endpoint what it would launch, and launch nothing.

    Inputs are checked by the form of the `enter` route, whose handler is called. The
    `inputs` of what it returns are as the flow gets them.

    Args:
        app: the `ServeAPI`, or what the manifest's `app` names, as `module:object`.
        inputs: what a user would give.
        path: the route.
        user: the `request.state.user` that the handler sees.

    Raises:
        InputsError: the form or the handler refuses the inputs.
        NotFoundError: there is no such route.
        UsageError: the handler returned no `Launch`.
        DeployError: there is no such app, or what it would launch is not there.
        Exception: whatever else the handler raises.
    """
    from koco.sdk.serving import serve_api_of

    path_of_app = app if isinstance(app, str) else "test:app"
    found = serve_api_of(entrypoint.find(app) if isinstance(app, str) else app, path_of_app)
    if path not in found.enters:
        known = ", ".join(found.enters) or "none"
        raise NotFoundError(f"the app has no enter route {path!r}", hint=f"it has: {known}")
    launch: Launch = asyncio.run(found.submit(path, inputs or {}, user=user))
    return launch
