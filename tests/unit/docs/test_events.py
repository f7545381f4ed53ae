"""docs/events.md: values become what the page says; its follower gets each event once."""

import pytest

from koco import testing
from koco.errors import UsageError
from koco.events import line
from koco.events.model import Kind
from koco.runner.output.lines import LINE_CHARS
from koco.sdk.process import tracebacks
from tests.support import pages
from tests.support.memory_plane import KEY, Plane

PAGE = pages.module("events")


def test_values_become_what_the_comments_say() -> None:
    """One by one, as on the page."""
    shown = testing.run(PAGE.values).of_kind("result")
    point, sets, (nan, keys), (numbers, path), odd, text = shown
    assert point == {"x": 1, "day": "2026-01-31"}
    assert sets == [["a", "b"], "Ynl0ZXM="]
    assert (nan, keys, numbers, path) == ("NaN", {"1": "a"}, [0, 1, 2], "/tmp")
    assert odd["$repr"] == "<built-in function print>"
    assert text == "half a pair: \\ud83d"


def test_the_follower_comes_back_after_each_break(plane: Plane) -> None:
    """Each event once, in order, ending with the final status."""
    steps = [("result", number) for number in range(5)]
    fid = plane.launch(*steps, ("status", {"status": "finished"}))
    plane.cuts = [2, 0, 1]
    events = list(PAGE.follow(plane.url, KEY, fid))
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert events[-1]["payload"] == {"status": "finished"}


def test_the_limits_are_the_ones_on_the_page() -> None:
    """What the page says of long lines and large payloads."""

    assert LINE_CHARS == 1_048_576
    assert line.PAYLOAD_BYTES == 64 * 1024 * 1024
    assert tracebacks._TEXT_CHARS == 65_536


def test_flows_write_no_events_of_kocos() -> None:
    """A forged final status would end the stream for its followers."""
    tracer = testing.Tracer()
    tracer.emit_sync(Kind.AGENT, {"name": "me"})
    for kind in (Kind.STATUS, Kind.FINAL, Kind.ERROR, Kind.LEASE, Kind.UPLOAD, "none"):
        with pytest.raises(UsageError, match="cannot write an event of kind"):
            tracer.emit_sync(kind, {"status": "finished"})  # type: ignore[arg-type]
    assert [event.kind for event in tracer.events] == ["agent"]
