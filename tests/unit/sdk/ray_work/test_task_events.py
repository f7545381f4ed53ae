"""Events from a Ray task's process are numbered without gaps, even if a call is interrupted."""

import pytest

from koco.events import line, wire
from koco.events.model import Kind
from koco.events.wire import Ack
from koco.sdk.ray_work import task_events
from koco.sdk.ray_work.task_events import Producer, RemoteSink, remote_sink


class Cancelled(BaseException):
    """Interrupts a writer in the middle of a call, as `ray.cancel` does."""


class Interrupted(Producer):
    """A producer whose calls are interrupted according to `faults`: before or after the commit."""

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
def test_the_next_writer_sends_a_cancelled_writers_events(fault: str) -> None:
    """Each event arrives once, in order, and no writer waits for ever."""
    producer = Interrupted("", fault, "", "", fault)
    for number in range(4):
        try:
            producer.put(line.encode(Kind.RESULT, number))
        except Cancelled:
            assert number in (1, 3)
    producer.put(line.encode(Kind.RESULT, 4))
    assert [line.decode(1, each)["payload"] for each in producer.held] == [0, 1, 2, 3, 4]


class Plane:
    """Takes all events, and remembers them."""

    def __init__(self) -> None:
        self.batches: list[wire.Batch] = []

    def call_sync(self, method: str, blob: bytes) -> bytes:
        batches = wire.decode_batches(blob)
        self.batches += batches
        return wire.encode_acks([Ack(each.first + each.count - 1) for each in batches])


def test_a_process_forgets_idle_executions() -> None:
    """An actor may get the tracers of a million executions, and never learns that one has ended."""
    plane = Plane()
    sink = RemoteSink(plane)  # type: ignore[arg-type]
    for number in range(3 * task_events._REMEMBERED):
        sink.put(str(number), line.encode(Kind.RESULT, number))
        sink.put("often", line.encode(Kind.RESULT, number))
    assert len(sink._producers) == task_events._REMEMBERED
    of_often = [each for each in plane.batches if each.fid == "often"]
    assert len({each.producer for each in of_often}) == 1
    assert [each.first for each in of_often] == list(range(1, 3 * task_events._REMEMBERED + 1))


def test_a_task_names_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unpickled sink belongs to its attempt, and there is one for each attempt."""
    monkeypatch.setattr(task_events, "_sinks", {})
    plane = Plane()
    first = remote_sink(plane, 1)  # type: ignore[arg-type]
    assert remote_sink(plane, 1) is first  # type: ignore[arg-type]
    for make, arguments in (first.travel(), remote_sink(plane, 2).travel()):  # type: ignore[arg-type]
        make(*arguments).put("f", line.encode(Kind.RESULT, 0))
    assert [each.attempt for each in plane.batches] == [1, 2]


def test_printed_lines_go_with_the_next_event() -> None:
    """In order, in one call; without an event if they are flushed or have become many."""
    plane = Plane()
    producer = Producer("fid", plane)  # type: ignore[arg-type]
    for number in range(3):
        producer.gather(line.encode(Kind.STDOUT, str(number)))
    producer.put(line.encode(Kind.RESULT, 3))
    producer.gather(line.encode(Kind.STDOUT, "x" * 70_000))
    producer.gather(line.encode(Kind.STDOUT, "4", task="count"))
    assert [batch.count for batch in plane.batches] == [4, 1]
    producer.flush()
    producer.flush()
    assert [batch.count for batch in plane.batches] == [4, 1, 1]
    assert line.decode(6, plane.batches[-1].body)["task"] == "count"
