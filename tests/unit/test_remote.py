"""Events from a Ray task's process: numbered without a gap, whatever interrupts a call."""

import pytest

from koco.events import line, wire
from koco.events.model import Kind
from koco.sdk.remote import _Producer


class Cancelled(BaseException):
    """What reaches a writer in the midst of a call, as `ray.cancel` does."""


class Interrupted(_Producer):
    """A producer whose calls are interrupted as `faults` say: before the commit, or after it."""

    def __init__(self, *faults: str) -> None:
        super().__init__("fid", None)
        self.faults = list(faults)
        self.held: list[bytes] = []

    def _deliver(self, blob: bytes) -> bool:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise Cancelled
        (batch,) = wire.decode_batches(blob)
        assert batch.first <= len(self.held) + 1, "a gap: the store takes nothing behind one"
        self.held += batch.body.split(b"\n")[len(self.held) + 1 - batch.first :]
        if fault == "after":
            raise Cancelled
        return True


@pytest.mark.parametrize("fault", ["before", "after"])
def test_what_a_cancelled_writer_left_goes_with_the_next(fault: str) -> None:
    """Each event is there once, in order, and nobody waits for ever."""
    producer = Interrupted("", fault, "", "", fault)
    for number in range(4):
        try:
            producer.put(line.encode(Kind.RESULT, number))
        except Cancelled:
            assert number in (1, 3)
    producer.put(line.encode(Kind.RESULT, 4))
    assert [line.decode(1, each)["payload"] for each in producer.held] == [0, 1, 2, 3, 4]
