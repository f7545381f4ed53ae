"""Records of steps in lines, and the marks of stored events."""

import pytest

from koco.events import line, steps
from koco.events.model import Kind
from koco.events.steps import StepRecord, StepStatus, mark_of, marks_of

RECORD = StepRecord(
    *("1/fetch:0", "fetch", 1, "d", StepStatus.FINISHED, 2, 1, 1.5, 0.25, "1", "2"),
    result=b"\x00\xff",
    size_bytes=2,
)


def test_a_record_travels_in_the_line_of_its_event() -> None:
    """Without it, the line is the event that readers see."""
    text = steps.encode_line(RECORD)
    shown, record = steps.split_line(text)
    assert record == RECORD
    event = line.decode(1, shown)
    assert "record" not in event
    assert event["payload"] == {
        "step": "1/fetch:0",
        "kind": "step",
        "status": "finished",
        "attempt": 2,
        "duration_s": 0.25,
        "size_bytes": 2,
        "preview": "2",
    }


def test_only_koco_s_own_member_is_a_record() -> None:
    """A payload may contain the same text."""
    text = line.encode(Kind.STDOUT, 'x"record":"y",')
    assert steps.split_line(text) == (text, None)
    nested = line.encode(Kind.RESULT, {"record": "y", "z": 1})
    assert steps.split_line(nested) == (nested, None)


@pytest.mark.parametrize("packed", [b"AAAA", b"wA==", b"****"])
def test_a_record_that_cannot_be_read_is_refused(packed: bytes) -> None:
    """It is no harm to whoever reads the rest of the batch."""
    text = line.with_member(line.encode(Kind.STEP, {}), "record", packed)
    with pytest.raises(ValueError):
        steps.split_line(text)


def printed(text: str, at: str = "") -> bytes:
    encoded = line.encode(Kind.STDOUT, text)
    return line.with_member(encoded, "at", at.encode()) if at else encoded


def step(key: str, status: StepStatus = StepStatus.FINISHED) -> bytes:
    return line.encode(Kind.STEP, steps.describe(key, steps.StepKind.STEP, status))


def test_events_are_recognised_by_place_and_text() -> None:
    """Numbers make no difference. Events of koco and of Ray tasks have no place."""
    lines = [
        printed("took 1.5 s"),
        printed("in a task", "1"),
        line.encode(Kind.STDOUT, "elsewhere", task="t"),
        line.encode(Kind.STATUS, {"status": "running"}),
        step("a:0"),
        printed("done"),
    ]
    assert marks_of(lines) == {
        "": [mark_of(printed("took 22.25 s")), mark_of(printed("done"))],
        "1": [mark_of(printed("in a task"))],
    }
    assert mark_of(printed("done")) != mark_of(line.encode(Kind.STDERR, "done"))


def test_events_from_a_failed_step_on_are_written_again() -> None:
    """Where it is tried again, they do not count as stored; those before it do."""
    again = line.encode(Kind.STATUS, {"status": "queued", "attempt": 2, "from": "b:0"})
    lines = [
        printed("one"),
        step("a:0"),
        printed("two"),
        printed("before its first event", "b:0"),
        step("b:0", StepStatus.RUNNING),
        printed("inside", "b:0"),
        step("b:0", StepStatus.ERROR),
        printed("three"),
        again,
        printed("four"),
    ]
    kept = {"": [mark_of(printed(text)) for text in ("one", "two", "four")]}
    assert marks_of(lines) == kept
    twice = [*lines, step("b:0", StepStatus.ERROR), printed("five"), again]
    assert marks_of(twice) == kept
    without = line.encode(Kind.STATUS, {"status": "queued", "attempt": 2})
    assert len(marks_of([*lines[:-2], without])[""]) == 3
