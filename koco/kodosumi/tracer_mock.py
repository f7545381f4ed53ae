"""A tracer for a service's own tests and for trying it at a terminal: no cluster is needed."""

import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from koco.events import line
from koco.events.model import Kind
from koco.kodosumi.tracer import Tracer
from koco.sdk import in_memory


class TracerMock(Tracer):
    """A tracer that prints each event and keeps it in `events`.

    `files` are the files that `fs()` and `fs_sync()` find, by path. `answers` are a person's
    answers by the name of the lock; a lock without one raises `AssertionError`.
    """

    __slots__ = ("_memory",)

    def __init__(
        self, files: dict[str, bytes] | None = None, *, answers: Mapping[str, Any] | None = None
    ) -> None:
        self._memory = in_memory.Tracer(files, answers=answers)
        super().__init__(self._memory)

    @property
    def events(self) -> list[in_memory.Event]:
        """The events that were written so far: `seq ts kind payload`, with plain JSON data."""
        return self._memory.events

    @property
    def files(self) -> MutableMapping[str, bytes]:
        """The execution's files by path, as the code has left them."""
        return self._memory.files

    # All that a tracer writes goes through these two.

    def _put(self, kind: Kind, payload: Any) -> None:
        super()._put(kind, payload)
        self._print()

    async def _put_async(self, kind: Kind, payload: Any) -> None:
        await super()._put_async(kind, payload)
        self._print()

    def _print(self) -> None:
        event = self.events[-1]
        said = event.payload
        if isinstance(said, dict) and set(said) == {"type", "body"}:
            said = said["body"]
        text = said if isinstance(said, str) else line.encode_payload(said).decode()
        print(f"{event.kind}: {text}", file=sys.stderr if event.kind == Kind.STDERR else sys.stdout)
