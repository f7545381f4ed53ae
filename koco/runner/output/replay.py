"""The events of a durable execution, which may run again from its top.

Each says where in the flow's code it was written. A flow that runs again writes its stored events
once more, at the same places and in the same order there, so they are dropped. Once an event at a
place is not a stored one, the flow does something else there: from then on, all are kept there.
"""

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from koco.events import line
from koco.events.model import Kind
from koco.events.steps import mark_of
from koco.runner.output.lines import Output
from koco.runner.output.partial_lines import Kept
from koco.sdk import tracer
from koco.sdk.interruption import fence
from koco.sdk.steps import places

#: With how many of the next stored events an event is compared. Their order may differ a little,
#: for example if several threads have printed.
_AHEAD = 64

#: The places of lines that have none: of other processes and C code, and of unknown threads.
PIPE = "~pipe"


class _Stored:
    """The marks of one place's stored events that were not written again yet."""

    def __init__(self, marks: Sequence[bytes]) -> None:
        self._rest = iter(marks)
        self._next = list(itertools.islice(self._rest, _AHEAD))

    def take(self, mark: bytes) -> bool:
        """Return whether an event is stored, each one once."""
        if mark not in self._next:
            return False
        self._next.remove(mark)
        self._next.extend(itertools.islice(self._rest, 1))
        return True


class Sink(tracer.Sink, Protocol):
    """What a replay needs of the sink behind it: of an attempt's, or of a test's."""

    def put(self, fid: str, event: bytes, kept: Kept | None = None) -> None:
        """Take an event; `kept` has its line so far."""


class Replay:
    """A sink (see `koco.sdk.tracer.Sink`) in front of another one, for a durable execution."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._stored: dict[str, _Stored] = {}
        self.record = sink.record
        self.commit = sink.commit
        self.commit_async = sink.commit_async
        self.ask = sink.ask
        self.ask_async = sink.ask_async
        self.travel = sink.travel

    def load(self, marks: Mapping[str, Sequence[bytes]]) -> None:
        """Take the marks of the stored events by place: see `koco.events.steps.marks_of`."""
        self._stored = {place: _Stored(each) for place, each in marks.items()}

    def put(self, fid: str, event: bytes, kept: Kept | None = None) -> None:
        """Take an event, unless it is stored; see `Attempt.put`."""
        self._put(fid, event, _place_here(), kept)

    async def put_async(self, fid: str, event: bytes) -> None:
        """Take an event, unless it is stored."""
        place = _place_here()
        if not self._is_stored(event, place):
            await self._sink.put_async(fid, _at(event, place))

    def put_line(self, fid: str, kind: Kind, text: str, output: Output) -> None:
        """Take a line of captured output, unless it is stored."""
        place = PIPE if output.is_piped else _place_here()
        self._put(fid, line.encode(kind, text), place, output.kept)

    def _put(self, fid: str, event: bytes, place: str, kept: Kept | None) -> None:
        if not self._is_stored(event, place):
            self._sink.put(fid, _at(event, place), kept)
        elif kept is not None:
            kept.settle()

    def _is_stored(self, event: bytes, place: str) -> bool:
        if (stored := self._stored.get(place)) is None:
            return False
        mark = mark_of(event)
        # Inside the fence: an interruption must not leave the lock behind.
        with fence.inside(), self._lock:
            is_stored = stored.take(mark)
            if not is_stored:
                self._stored.pop(place, None)
        return is_stored


def _place_here() -> str:
    place = places.place_here()
    return places.UNORDERED if place is None else place


def _at(event: bytes, place: str) -> bytes:
    return line.with_member(event, "at", place.encode()) if place else event
