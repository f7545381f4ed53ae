"""Run a flow in a test: in this process, without Ray, with what it wrote at hand.

    outcome = testing.run("hello.app:greet", {"who": "Ada"})
    assert outcome.status == "finished"
    assert outcome.result == "Hello, Ada!"

Inputs are checked by the flow's form, the entrypoint is called as a runner calls
it, and its output is captured as events. Nothing is stored.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from koco.events import line
from koco.events.model import Kind, Status
from koco.runner.capture import Capture, Output
from koco.runner.flow import Flow, Run, loaded
from koco.sdk.tracer import Tracer as _Tracer

__all__ = ["Event", "Outcome", "Tracer", "run"]

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

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def put(self, fid: str, event: bytes) -> None:
        with self._lock:
            self.events.append(Event(**line.decode(len(self.events) + 1, event)))

    async def put_async(self, fid: str, event: bytes) -> None:
        self.put(fid, event)

    def ask(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        raise TypeError(f"a test cannot answer {question!r}")

    async def ask_async(self, fid: str, question: str, arguments: dict[str, Any]) -> Any:
        return self.ask(fid, question, arguments)

    def travel(self) -> tuple[Any, tuple[Any, ...]]:
        raise TypeError("a testing tracer stays in its process: call the task's function itself")


class Tracer(_Tracer):
    """A tracer whose `events` are there to be looked at, for testing parts of a flow."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory = _Memory()
        super().__init__(_FID, self._memory)

    @property
    def events(self) -> list[Event]:
        """What was written so far."""
        return self._memory.events


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: `result` where it finished, `error` (type, message, traceback) else."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Any]:
        """Return the payloads of the events of a kind."""
        return [event.payload for event in self.events if event.kind == kind]


def run(
    flow: str | Callable[..., Any],
    inputs: dict[str, Any] | None = None,
    *,
    form: list[dict[str, Any]] | None = None,
) -> Outcome:
    """Run a flow to its end.

    Args:
        flow: the entrypoint, as `module:object` or itself.
        inputs: what a user would give; strings are fine where the form types them.
        form: the manifest's `inputs`, where it has some.

    Raises:
        InputsError: the inputs do not pass the form.
    """
    found = loaded("test", flow, form)
    given = inputs or {}
    if found.form is not None:
        found.form.validate(given)
    return asyncio.run(_run(found, given))


async def _run(flow: Flow, inputs: dict[str, Any]) -> Outcome:
    tracer = Tracer()
    output = Output(tracer.emit_sync)
    stdout, stderr = sys.stdout, sys.stderr
    Capture(dedicated=False).install()
    try:
        loop = asyncio.get_running_loop()
        ended = await Run(flow, inputs, tracer=tracer, output=output, loop=loop).outcome()
    finally:
        sys.stdout, sys.stderr = stdout, stderr
    output.finish()
    if ended.kind is not None:
        tracer.emit_sync(ended.kind, ended.payload)
    last = tracer.events[-1].payload if ended.kind is not None else None
    is_final = ended.kind is Kind.FINAL
    return Outcome(
        ended.status, last if is_final else None, None if is_final else last, tracer.events
    )
