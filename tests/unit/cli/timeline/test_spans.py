"""Spans: made of events alone, whatever is in them."""

import json
import time
from typing import Any

from koco.cli.timeline import chart, picture, spans
from koco.cli.timeline.spans import Timeline

DAY = "2026-01-31T12:00:"


def at(second: float) -> str:
    return f"{DAY}{second:09.6f}Z"


def line(second: float, kind: str, payload: Any, **more: Any) -> bytes:
    event = {"seq": 1, "ts": at(second), "kind": kind, **more, "payload": payload}
    return json.dumps(event, separators=(",", ":")).encode()


def execution(**facts: Any) -> Any:
    return {
        **{"fid": "abc", "flow": "hello/greet", "status": "finished", "created": at(0)},
        **{"started": at(2), "finished": at(10)},
        **facts,
    }


def read(*lines: bytes, children: Any = (), now: float = 20, **facts: Any) -> Timeline:
    kept = [each for each in lines if spans.matters(each)]
    now_s = spans.seconds(at(now))
    return spans.read(kept, execution(**facts), children, now_s=now_s)


def told(timeline: Timeline) -> list[tuple[str, str, float, float | None]]:
    """Return the spans, with their times from the start of the timeline."""
    start_s = timeline.start_s
    return [
        (
            span.kind,
            span.name,
            round(span.start_s - start_s, 3),
            None if span.end_s is None else round(span.end_s - start_s, 3),
        )
        for span in timeline.spans
    ]


def step(key: str, status: str, **more: Any) -> dict[str, Any]:
    return {"step": key, "kind": "step", "status": status, **more}


BEGIN = (
    line(0, "meta", {"fid": "abc"}),
    line(1, "status", {"status": "starting"}),
    line(2, "status", {"status": "running"}),
)
END = line(10, "status", {"status": "finished"})


def test_phases_follow_each_other_and_add_up() -> None:
    """Each status lasts until the next one; the totals are the whole."""
    timeline = read(
        *BEGIN,
        line(4, "status", {"status": "awaiting"}),
        line(7, "status", {"status": "running"}),
        END,
    )
    phases = [("queued", 0, 1), ("starting", 1, 2), ("running", 2, 4), ("awaiting", 4, 7)]
    expected = [(kind, "", start, end) for kind, start, end in [*phases, ("running", 7, 10)]]
    assert told(timeline) == expected
    assert timeline.totals() == [("queued", 1), ("starting", 1), ("running", 5), ("awaiting", 3)]


def test_steps_waits_locks_files_and_tasks_are_spans() -> None:
    """A step without a beginning began its duration before its end; a task lasts as it writes."""
    timeline = read(
        *BEGIN,
        line(2.5, "step", step("fetch:0", "running")),
        line(3, "step", step("fetch:0", "retrying")),
        line(4, "step", step("fetch:0", "finished")),
        line(5, "step", step("sum:0", "finished", duration_s=0.5)),
        line(5, "step", {"step": "sleep:0", "kind": "sleep", "status": "waiting"}),
        line(6, "step", {"step": "sleep:0", "kind": "sleep", "status": "finished"}),
        line(6, "lock", {"lid": "l1", "name": "approval"}),
        line(6, "step", {"step": "lock:0", "kind": "lock", "status": "waiting"}),
        line(8, "lease", {"lid": "l1", "name": "approval", "outcome": "answered"}),
        line(8, "upload", {"path": "out/a.csv", "size_bytes": 1}),
        line(8, "stdout", "one", task="count"),
        line(9, "stdout", "two", task="count"),
        END,
    )
    assert told(timeline)[3:] == [
        ("step", "fetch:0", 2.5, 4),
        ("step", "sum:0", 4.5, 5),
        ("wait", "sleep:0", 5, 6),
        ("lock", "approval", 6, 8),
        ("file", "out/a.csv", 8, 8),
        ("task", "count", 8, 9),
    ]


def test_the_start_of_a_runner_is_shown_as_far_as_it_was_waited_for() -> None:
    """Its environment and imports end where the execution is given to it."""
    start = {"status": "starting", "environment_s": 3.5, "import_s": 1}
    rest = [line(6, "status", {"status": "running"}), END]
    timeline = read(BEGIN[0], line(5, "status", start), *rest)
    expected = [("environment", "", 0.5, 4), ("import", "", 4, 5)]
    assert told(timeline)[3:] == expected
    began_before = {**start, "environment_s": 60.0}
    assert told(read(BEGIN[0], line(5, "status", began_before), *rest))[3][2:] == (0, 4)
    odd = {"status": "starting", "environment_s": "long", "import_s": -1}
    assert len(told(read(BEGIN[0], line(5, "status", odd), *rest))) == 3
    assert len(told(read(line(5, "status", start), *rest))) == 2


def test_a_running_execution_has_open_bars_until_now() -> None:
    """What has not ended has no end, and lasts until now."""
    timeline = read(
        *BEGIN,
        line(3, "step", step("fetch:0", "running")),
        status="running",
        finished=None,
    )
    assert told(timeline)[2:] == [("running", "", 2, None), ("step", "fetch:0", 3, None)]
    assert timeline.is_open
    assert timeline.totals()[-1] == ("running", 18)


def test_the_end_ends_what_it_interrupts() -> None:
    """A cancelled execution leaves no open bar behind."""
    timeline = read(
        *BEGIN,
        line(3, "lock", {"lid": "l1", "name": "approval"}),
        line(9, "status", {"status": "cancelled"}),
        status="cancelled",
        finished=at(9),
    )
    assert told(timeline)[3:] == [("lock", "approval", 3, 9)]


def test_a_child_stands_for_the_step_that_launched_it() -> None:
    """It has its own times; a child that is gone leaves the step."""
    call = {"step": "call:0", "kind": "call", "status": "waiting", "fid": "childone"}
    other = {"step": "call:1", "kind": "call", "status": "waiting", "fid": "gone"}
    child = execution(fid="childone", flow="a/b", created=at(4), finished=at(6))
    timeline = read(*BEGIN, line(3, "step", call), line(3, "step", other), END, children=[child])
    assert told(timeline)[3:] == [("wait", "call:1", 3, 10), ("child", "a/b childo", 4, 6)]


def test_hostile_events_are_left_out() -> None:
    """No payload, time or depth of a known kind makes it fail."""
    deep = b'{"seq":1,"ts":"2026-01-31T12:00:03.000000Z","kind":"step","payload":' + b"[" * 100_000
    timeline = read(
        *BEGIN,
        line(3, "step", None),
        line(3, "status", ["x"]),
        line(3, "lock", {"lid": {}, "name": {"a": 1}}),
        line(3, "step", {"step": [], "kind": 3, "status": None, "duration_s": -1, "fid": 7}),
        line(3, "upload", {"path": "x" * 100_000}),
        line(3, "step", step("a", "finished", duration_s=True)),
        b'{"seq":1,"ts":"tomorrow","kind":"step","payload":{}}',
        b'{"seq":1,"kind":"step","payload":{}}',
        deep,
        END,
    )
    assert timeline.totals()[0] == ("queued", 1)
    assert max(len(span.name) for span in timeline.spans) <= 200


def test_many_spans_become_groups() -> None:
    """Calls of one step are one row, and if that is not enough, all steps are."""
    steps = [line(3, "step", step(f"{name}:{n}", "finished")) for n in range(50) for name in "ab"]
    failed = line(4, "step", step("a:50", "error"))
    found = read(*BEGIN, *steps, failed, END).spans
    rows = spans.grouped(found, 60)
    assert [span.name for span in rows][3:] == ["a (51)", "b (50)"]
    assert rows[3].status == "error"
    assert [span.name for span in spans.grouped(found, 4)][3:] == ["(101)"]


def test_a_hundred_thousand_events_take_seconds() -> None:
    """Reading, grouping and drawing grow with the number of events, no faster."""
    lines = [*BEGIN]
    for number in range(50_000):
        lines.append(line(3, "step", step(f"s{number % 700}:{number}", "running")))
        lines.append(line(4, "step", step(f"s{number % 700}:{number}", "finished")))
    began = time.monotonic()
    timeline = read(*lines, END)
    assert len(timeline.spans) == 50_003
    assert len(chart.draw(timeline, spans.grouped(timeline.spans, chart.ROWS))) < 70
    drawn = picture.page(timeline, spans.grouped(timeline.spans, picture.ROWS))
    assert len(drawn) < 1_000_000
    assert time.monotonic() - began < 15
