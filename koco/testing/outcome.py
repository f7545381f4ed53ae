"""How a flow ended in a test, and what it has recorded."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from koco.events import datetimes
from koco.events.model import Status
from koco.events.questions import WaitOutcome
from koco.events.steps import PastStep, StepKind, StepStatus
from koco.sdk.in_memory import Event
from koco.sdk.steps import outcomes


@dataclass(frozen=True, slots=True)
class Step:
    """A recorded step or wait, in the order of the calls."""

    key: str
    name: str
    kind: StepKind
    status: StepStatus
    attempt: int
    #: What it returned, or the exception that it raised; of a called flow, the error's fields.
    value: Any = None
    error: Any = None
    #: Its arguments, for people.
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended: its `result` if it finished, or else `error` (type, message, traceback)."""

    status: Status
    result: Any = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    #: The files in `out/` at the end, by path.
    files: dict[str, bytes] = field(default_factory=dict)
    #: What it has recorded, in the order of its calls.
    steps: list[Step] = field(default_factory=list)
    #: How often it was resumed after a crash.
    resumed: int = 0
    #: What `replays` takes: plain JSON data, as `koco steps FID --export FILE` writes it.
    history: dict[str, Any] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[Any]:
        """Return the payloads of the events of a kind."""
        return [event.payload for event in self.events if event.kind == kind]


def step_of(entry: PastStep) -> Step:
    """Return a recorded step as a test looks at it."""
    value: Any = None
    error: Any = None
    if entry.result is not None and entry.kind is StepKind.STEP:
        value, error = outcomes.decode(entry.result)
    elif entry.result is not None:
        ended = msgspec.json.decode(entry.result, type=WaitOutcome)
        value, error = datetimes.restore(ended.value, ended.moments), ended.error
        if entry.kind is StepKind.LAUNCH:
            value = ended.fid
    return Step(
        key=entry.key,
        name=entry.name,
        kind=entry.kind,
        status=entry.status,
        attempt=entry.attempt,
        value=value,
        error=error,
        arguments=entry.arguments,
    )
