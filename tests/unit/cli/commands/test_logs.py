"""`koco logs`: plain when piped, drawn in a terminal, NDJSON with `--json`."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support.memory_plane import TS, Plane
from tests.unit.conftest import Cli

MARKDOWN = {"type": "markdown", "body": "# Hymn\n\nto the *night*"}
EVENTS = [
    ("meta", {"fid": "x", "flow": "hello/greet"}),
    ("inputs", {"who": "Ada"}),
    ("status", {"status": "running"}),
    ("stdout", "one"),
    ("stderr", "two"),
    ("debug", "three"),
    ("action", {"tool": "search"}),
    ("result", MARKDOWN),
    ("lock", {"lid": "l1", "name": "approval", "data": {"page": 1}, "expires": TS}),
    ("lease", {"lid": "l1", "name": "approval", "outcome": "answered", "answer": 0, "by": "ada"}),
    ("lease", {"lid": "l2", "name": "approval", "outcome": "expired"}),
    ("upload", {"path": "out/a.csv", "size_bytes": 30, "sha256": "ab", "by": "flow"}),
    ("upload", {"path": "in/b", "size_bytes": 3, "sha256": "c", "by": "ada", "removed": True}),
    ("final", {"naïve": [1, 2]}),
]
TEXT = (
    "one\ntwo\nthree\n"
    '{"tool": "search"}\n# Hymn\n\nto the *night*\n'
    f"lock: approval waits for an answer until {TS}\nkoco answer fid0000000000000 approval\n"
    '{"page": 1}\nlease: approval answered by ada: 0\nlease: approval expired\n'
    "upload: out/a.csv 30 bytes by flow\nupload: in/b removed by ada\n"
    '{"naïve": [1, 2]}\n'
)
ERROR = {"type": "ValueError", "message": "no", "traceback": 'File "a.py"\nValueError: no\n'}


def test_piped_it_is_the_texts_and_nothing_else(plane: Plane, cli: Cli) -> None:
    """No colour, no status changes, no meta: only the flow's output, in order."""
    plane.launch(*EVENTS, ("status", {"status": "finished"}))
    ran = cli("logs")
    assert (ran.code, ran.out, ran.err) == (0, TEXT, "")


def test_shows_stored_events_without_waiting(plane: Plane, cli: Cli) -> None:
    """A running execution is not an error; only -f exits with an outcome."""
    fid = plane.launch(("stdout", "one"))
    assert cli("logs", fid) == cli("logs", "-")
    assert (cli("logs", fid).code, cli("logs", fid).out) == (0, "one\n")


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("error", 1), ("cancelled", 7)])
def test_following_exits_with_the_outcome(plane: Plane, cli: Cli, status: str, code: int) -> None:
    """An end other than success is noted on stderr."""
    fid = plane.launch(("stdout", "one"), ("status", {"status": status}))
    ran = cli("logs", "-f", fid)
    assert (ran.code, ran.out) == (code, "one\n")
    assert ran.err == ("" if code == 0 else f"{fid} has ended: {status}\n")
    assert cli("logs", fid).code == 0


def test_an_error_shows_its_traceback(plane: Plane, cli: Cli) -> None:
    """The user's frames, as they were."""
    plane.launch(("error", ERROR), ("status", {"status": "error"}))
    assert cli("logs").out == 'File "a.py"\nValueError: no\n'


def test_an_error_whose_traceback_does_not_say_it_shows_both(plane: Plane, cli: Cli) -> None:
    """A process that crashed has a stack, and the cause stands in the message."""
    message = "its process was ended by SIGSEGV (segmentation fault)"
    error = {"type": "RunnerDied", "message": message, "traceback": 'File "a.py", line 1\n  f()'}
    fid = plane.launch(("error", error))
    assert f"  f()\nRunnerDied: {message}\n" in cli("logs", fid).out


def test_an_error_without_traceback_shows_type_and_message(plane: Plane, cli: Cli) -> None:
    """A runner that was killed has none."""
    plane.launch(("error", {"type": "RunnerDied", "message": "killed", "traceback": ""}))
    assert cli("logs").out == "RunnerDied: killed\n"


def test_returning_nothing_shows_nothing(plane: Plane, cli: Cli) -> None:
    """Most flows print and return None: no `null` at the end of their output."""
    plane.launch(("stdout", "one"), ("final", None), ("status", {"status": "finished"}))
    assert cli("logs").out == "one\n"


def test_several_bodies_are_shown_one_after_another(plane: Plane, cli: Cli) -> None:
    """`tracer.result(a, b)` of bodies is a list of them."""
    plane.launch(("result", [{"type": "text", "body": "a"}, {"type": "html", "body": "<b>"}]))
    assert cli("logs").out == "a\n<b>\n"


def test_shows_a_value_that_is_not_json_as_its_repr(plane: Plane, cli: Cli) -> None:
    """The store has it so, but readers do not need the wrapping."""
    plane.launch(("result", {"$repr": "<Thing>", "$type": "app.Thing"}))
    assert cli("logs").out == "<Thing>\n"


def test_timestamps_stand_before_each_line(plane: Plane, cli: Cli) -> None:
    """Each line of an event has it: `grep` and `sort` work."""
    plane.launch(("stdout", "one"), ("result", "a\nb"))
    assert cli("logs", "--timestamps").out == f"{TS} one\n{TS} a\n{TS} b\n"


def test_shows_only_the_requested_kinds(plane: Plane, cli: Cli) -> None:
    """Quiet ones too, when they are named; the end is not shown because it was sent."""
    fid = plane.launch(*EVENTS, ("status", {"status": "finished"}))
    assert cli("logs", "--kind", "status").out == "running\nfinished\n"
    assert cli("logs", "-f", fid, "-k", "stdout,stderr").out == "one\ntwo\n"
    assert cli("logs", "-f", "-k", "inputs").out == '{"who": "Ada"}\n'


def test_tail_and_since_go_to_the_server(plane: Plane, cli: Cli) -> None:
    """What is not shown is not sent."""
    plane.launch(*EVENTS)
    assert cli("logs", "--tail", "1").out == '{"naïve": [1, 2]}\n'
    assert cli("logs", "--since", "13").out == '{"naïve": [1, 2]}\n'


def test_json_is_the_events_as_they_came(plane: Plane, cli: Cli) -> None:
    """Byte for byte, one line each."""
    fid = plane.launch(*EVENTS, ("status", {"status": "error"}))
    for args in (("logs", "--json"), ("logs", "-f", "--json")):
        ran = cli(*args)
        assert ran.out.encode() == b"".join(line + b"\n" for line in plane.events[fid])
        assert ran.err == ""
    assert json.loads(cli("logs", "--json", "-k", "stdout", "-f").out)["payload"] == "one"


def test_following_survives_broken_connections(plane: Plane, cli: Cli) -> None:
    """Cut in the middle of a line, twice: each event once, in order."""
    plane.launch(*[("stdout", str(n)) for n in range(500)], ("status", {"status": "finished"}))
    plane.cuts = [100, 250]
    ran = cli("logs", "-f")
    assert ran.code == 0
    assert ran.out.split() == [str(n) for n in range(500)]


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_events_are_shown_as_they_come(plane: Plane, args: tuple[str, ...]) -> None:
    """A pipe's reader sees an event at once, not when a buffer is full."""
    fid = plane.launch()
    # With that set, Python buffers nothing, whatever koco does.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "logs", "-f", *args], stdout=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None
        plane.emit(fid, "stdout", "early")
        assert b"early" in process.stdout.readline()
        plane.end(fid, "finished")
        assert process.wait(10) == 0


def test_a_closed_pipe_is_quiet(plane: Plane) -> None:
    """`koco logs -f | head -1` leaves no traceback behind."""
    plane.launch(*[("stdout", "x" * 1000)] * 5000, ("status", {"status": "finished"}))
    ran = subprocess.run(
        f"{sys.executable} -m koco logs -f | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert ran.stdout == "x" * 1000 + "\n"
    assert ran.stderr == ""


def test_a_terminal_draws(plane: Plane, terminal: Cli) -> None:
    """Markdown is rendered, stderr coloured, status dim, JSON indented."""
    plane.launch(*EVENTS, ("error", ERROR), ("status", {"status": "error"}))
    ran = terminal("logs", "-f")
    assert ran.code == 1
    assert "\x1b[33mtwo\x1b[0m" in ran.out
    assert "\x1b[2m· running\x1b[0m" in ran.out
    assert "\x1b[31m· error\x1b[0m" in ran.out
    assert "\x1b[31mValueError: no\x1b[0m" in ran.out
    assert "# Hymn" not in ran.out
    assert "Hymn" in ran.out
    assert '{\n  "naïve": [\n' in ran.out
    assert "has ended" not in ran.out


def test_no_color_is_respected(plane: Plane, terminal: Cli) -> None:
    """If the user wants no colour, there is none, not even from Markdown."""
    plane.launch(*EVENTS[:7], ("status", {"status": "error"}))
    out = terminal("logs", "-f", env={"NO_COLOR": "1"}).out
    assert "\x1b[3" not in out
    assert "\ntwo\n" in out


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_control_sequences_cannot_reach_a_terminal(
    plane: Plane, terminal: Cli, args: tuple[str, ...]
) -> None:
    """A flow's output cannot change a window's title or hide other output."""
    evil = "a\x1b]0;title\x07b\x9b2Jc\rd\u202ee"
    plane.launch(
        ("stdout", evil),
        ("result", {"type": "markdown", "body": evil}),
        ("error", {"type": evil, "message": evil, "traceback": evil}),
        ("final", {evil: evil}),
        ("status", {"status": "finished"}),
    )
    out = terminal("logs", "-f", *args, env={"NO_COLOR": "1"}).out
    assert not set(out) & {"\x07", "\x9b", "\r", "\u202e"}
    assert "\x1b]" not in out
    assert "title" in out


def test_piped_it_leaves_text_alone(plane: Plane, cli: Cli) -> None:
    """A file gets what the flow wrote."""
    plane.launch(("stdout", "a\x1b[1mb"))
    assert cli("logs").out == "a\x1b[1mb\n"


def test_an_unknown_execution_is_not_found(plane: Plane, cli: Cli) -> None:
    """Exit code 4, also if there are no executions at all."""
    assert cli("logs").code == 4
    assert cli("logs", "-f", "nope").code == 4


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_it_keeps_up_with_many_events(plane: Plane, args: tuple[str, ...]) -> None:
    """100,000 events in a few seconds, start-up included."""
    fid = plane.launch()
    line = b'{"seq":%d,"ts":"2026-01-31T12:00:00.123456Z","kind":"stdout","payload":"line %d"}'
    plane.events[fid] = [line % (n, n) for n in range(1, 100_001)]
    plane.end(fid, "finished")
    ran = subprocess.run(
        [sys.executable, "-m", "koco", "logs", *args], capture_output=True, timeout=100, check=True
    )
    assert ran.stdout.count(b"\n") == 100_000 + bool(args)


def test_following_reports_why_there_are_no_events(plane: Plane, cli: Cli) -> None:
    """On stderr, with the control plane's heartbeats; once each, whatever its figures are."""
    fid = plane.launch(("stdout", "one"), ("status", {"status": "finished"}))
    said = ["its runners end before they begin: x", "its code has kept the interpreter for {} s"]
    plane.beats = [said[0], said[1].format(10), said[1].format(20)]
    ran = cli("logs", "-f", fid)
    assert (ran.code, ran.out) == (0, "one\n")
    assert ran.err == f"{fid}: {said[0]}\n{fid}: {said[1].format(10)}\n"


def step(key: str, status: str, **more: object) -> tuple[str, dict[str, object]]:
    """Return the event of a step."""
    kind = re.split("[.:]", key)[0]
    kinds = ("sleep", "receive", "call", "launch")
    return "step", {"step": key, "kind": kind if kind in kinds else "step", "status": status} | more


STEPS = [
    step("fetch:0", "running", attempt=1),
    step("fetch:0", "retrying", attempt=1, error="OSError: no route"),
    step("fetch:0", "finished", attempt=2, duration_s=1.24, size_bytes=9, preview="'a page'"),
    step("ask:0", "error", attempt=1, duration_s=0.0031, error="ValueError: no\nsecond"),
    step("sleep:0", "waiting", until=TS),
    step("receive.note:0", "waiting", until=TS),
    step("receive.note:0", "expired"),
    step("call.publisher.publish:0", "waiting", fid="abcd"),
    step("launch.publisher.publish:0", "finished", fid="efgh"),
]


def test_piped_steps_are_lines(plane: Plane, cli: Cli) -> None:
    """With place, status, duration and outcome; that one began is left out, its outcome follows."""
    plane.launch(*STEPS)
    assert cli("logs").out.splitlines() == [
        "step: fetch:0 retrying attempt 1 failed: OSError: no route",
        "step: fetch:0 finished 1.2s 'a page'",
        r"step: ask:0 error 3ms ValueError: no\nsecond",
        f"step: sleep:0 waiting until {TS}",
        f"step: receive.note:0 waiting for a message until {TS}",
        "step: receive.note:0 expired",
        "step: call.publisher.publish:0 waiting for abcd",
        "step: launch.publisher.publish:0 finished efgh",
    ]
    assert cli("logs", "-k", "step").out.startswith("step: fetch:0 running\n")


def test_a_terminal_draws_steps(plane: Plane, terminal: Cli) -> None:
    """With a sign for the status; errors are red, a retry is yellow."""
    plane.launch(*STEPS)
    out = terminal("logs").out
    assert "\x1b[2m· fetch:0 running\x1b[0m" in out
    assert "\x1b[33m↻ fetch:0 attempt 1 failed: OSError: no route\x1b[0m" in out
    assert "\x1b[2m✓ fetch:0 1.2s 'a page'\x1b[0m" in out
    assert "\x1b[31m✗ ask:0 3ms ValueError: no\\nsecond\x1b[0m" in out
    assert "- receive.note:0 expired" in out
    assert "· call.publisher.publish:0 waits for abcd" in out


def test_a_resumed_execution_tells_after_which_step_and_why(
    plane: Plane, terminal: Cli, cli: Cli
) -> None:
    """Instead of the status, which is `queued` again. A pipe gets no other status."""
    why = "its runner was killed (signal 9)"
    plane.launch(
        ("status", {"status": "sleeping", "parked": True}),
        ("status", {"status": "awaiting", "parked": True}),
        ("status", {"status": "queued", "resumed": 1, "after": "fetch:3", "because": why}),
        ("status", {"status": "queued", "resumed": 2, "after": None, "because": why}),
    )
    out = terminal("logs").out
    assert "\x1b[34m· sleeping\x1b[0m" in out
    assert "· awaiting: parked" in out
    assert f"· resumed after fetch:3: {why}" in out
    assert f"· resumed from the start: {why}" in out
    assert cli("logs").out.splitlines() == [
        f"status: resumed after fetch:3: {why}",
        f"status: resumed from the start: {why}",
    ]
    assert cli("logs", "-k", "status").out.splitlines()[1:3] == [
        "awaiting: parked",
        f"resumed after fetch:3: {why}",
    ]


PROGRESS = [
    ("progress", {"done": 3, "total": 12, "message": "pages"}),
    ("stdout", "one"),
    ("progress", {"done": 12, "total": 12}),
    ("progress", {"done": 1500}),
]


def test_progress_is_a_line_elsewhere(plane: Plane, cli: Cli) -> None:
    """What a flow's code has sent as progress and is none is shown as it is."""
    plane.launch(*PROGRESS, ("progress", {"done": "x\ny"}), ("progress", [1]))
    assert cli("logs").out == (
        "progress: 3/12 (25%) pages\none\nprogress: 12/12 (100%)\nprogress: 1,500\n"
        'progress: {"done": "x\\ny"}\nprogress: [1]\n'
    )


def test_a_terminal_has_one_bar_in_place(plane: Plane, terminal: Cli) -> None:
    """Below the other lines; the last one stays when the execution has ended."""
    plane.launch(*PROGRESS[:3], ("final", "done"), ("status", {"status": "finished"}))
    out = terminal("logs", "-f", env={"NO_COLOR": "1"}).out
    assert out.endswith(f"\r\x1b[2K{'█' * 24} 12/12 (100%)\ndone\n· finished\n")
    assert out.count("\n") == 4, "the bar is replaced in place"
    assert terminal("logs", "--kind", "progress", env={"NO_COLOR": "1"}).out == (
        "progress: 3/12 (25%) pages\nprogress: 12/12 (100%)\n"
    )


def test_the_bar_stays_if_the_stream_is_not_followed(plane: Plane, terminal: Cli) -> None:
    """What the shell writes next begins on its own line."""
    plane.launch(*PROGRESS[:2])
    out = terminal("logs", env={"NO_COLOR": "1"}).out
    assert out.endswith(f"{'█' * 6}{'░' * 18} 3/12 (25%) pages\n")
