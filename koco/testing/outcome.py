"""How a flow ended in a test, and what it has recorded."""

from dataclasses import dataclass, field
from typing import Any

from koco.events.model import Status
from koco.sdk.in_memory import Event


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
