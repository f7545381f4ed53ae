"""How far a flow says it is."""

import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from koco import testing
from koco.errors import UsageError
from koco.events import line, progress
from koco.events.model import Kind
from koco.events.progress import Progress


class Odd:
    """A number of another library's."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __float__(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((3,), {"done": 3}),
        ((3, 12), {"done": 3, "total": 12}),
        ((0.5, 1.0, "half"), {"done": 0.5, "total": 1.0, "message": "half"}),
        ((13, 12, ""), {"done": 13, "total": 12}),
        ((Odd(1.5), Decimal(2)), {"done": 1.5, "total": 2.0}),
    ],
)
def test_an_event_has_what_is_known(given: Any, told: Any) -> None:
    """More than the total is the flow's own business; numbers of any type become plain ones."""
    tracer = testing.Tracer()
    tracer.progress_sync(*given)
    [event] = tracer.events
    assert (event.kind, event.payload) == ("progress", told)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (("3",), "done is a number, got str"),
        ((None,), "done is a number, got NoneType"),
        ((True,), "done is a number, got bool"),
        ((-1,), "done is a number from 0 to 2"),
        ((float("nan"),), "done is a number from 0 to 2"),
        ((float("inf"),), "done is a number from 0 to 2"),
        ((10**4000,), "done is a number from 0 to 2"),
        ((1, 0), "total is 0"),
        ((1, -2), "total is a number from 0"),
        ((1, "2"), "total is a number, got str"),
        ((1, 2, 3), "message is a text, got int"),
        ((Odd("x"),), "done is a number, got Odd"),
    ],
)
def test_other_values_are_errors_that_name_the_argument(given: Any, wrong: str) -> None:
    """A bar that lies would be worse."""
    tracer = testing.Tracer()
    with pytest.raises(UsageError, match=wrong.replace("(", r"\(")):
        tracer.progress_sync(*given)
    assert tracer.events == []


@pytest.mark.parametrize("payload", [b"1", b"{}", b'{"done":-1}', b'{"done":"x"}', b'{"$cut":1}'])
def test_lists_show_no_progress_that_is_none(payload: bytes) -> None:
    """A service's code may send any event."""
    assert progress.read(payload) is None


def test_lists_show_the_start_of_a_long_message() -> None:
    """The event has all of it."""
    found = progress.read(msgspec.json.encode({"done": 1, "message": "x" * 10_000}))
    assert found is not None and found.message is not None
    assert len(found.message) == progress.MESSAGE_LENGTH
    assert progress.read(b'{"done":1,"total":4}') == Progress(1, 4)


def test_finds_the_last_progress_among_other_lines() -> None:
    """Not in a payload that looks like one."""
    lines = [
        line.encode(Kind.STDOUT, "a"),
        line.encode(Kind.PROGRESS, {"done": 1}),
        line.encode(Kind.PROGRESS, {"done": 2}),
        line.encode(Kind.ACTION, {"ts": "x", "kind": "progress", "payload": {"done": 3}}),
        line.encode(Kind.STDOUT, '","kind":"progress","payload":{"done":4}'),
    ]
    found = line.last_of_kind(Kind.PROGRESS, b"\n".join(lines))
    assert found == lines[2]
    assert line.last_of_kind(Kind.PROGRESS, lines[2]) == lines[2]
    assert line.last_of_kind(Kind.PROGRESS, b"\n".join(lines[3:])) is None
    assert line.last_of_kind(Kind.PROGRESS, b"") is None


def test_a_payload_with_many_lookalikes_is_passed_over_at_once() -> None:
    """The commit of each batch looks for progress, and all others wait for it."""
    event = line.encode(Kind.RESULT, [{"a": "x", "kind": "progress", "b": 1}] * 60_000)
    body = b"\n".join([line.encode(Kind.PROGRESS, {"done": 1}), event])
    began = time.thread_time()
    found = line.last_of_kind(Kind.PROGRESS, body)
    assert time.thread_time() - began < 0.2
    assert found == body.partition(b"\n")[0]
