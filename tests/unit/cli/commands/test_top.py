"""`koco top`, through a pseudo-terminal."""

import time
from typing import Any

import pytest

from koco.cli.top import facts
from tests.support.memory_plane import TS, Plane
from tests.support.screen import Screen
from tests.support.typist import CTRL_C
from tests.unit.conftest import Cli

RUNNER = {
    **{"service": "hymn", "release": 1, "id": "a", "node": "n", "status": "ready"},
    **{"running": 1, "served": 2, "cpu_s": 1.0, "memory_bytes": 100 << 20},
}
USED = {**{"wall_s": 3.0, "cpu_s": 2.5, "peak_memory_bytes": 5 << 20}, "ray_tasks": 0}


def fill(plane: Plane, many: int = 3) -> list[str]:
    """Launch executions, the newest first in the list, with names that are no markup."""
    used, progress = {**USED, "stored_bytes": 1}, {"done": 3, "total": 12, "message": None}
    return [
        plane.launch(
            ("stdout", f"number {number} says [b]hello[/b] \x1b[31m"),
            flow=f"hello/flow{number}",
            used=used,
            progress=progress,
        )
        for number in range(many)
    ]


def top(*args: str, columns: int = 80, rows: int = 24) -> Screen:
    return Screen(["-m", "koco", "top", *args], columns=columns, rows=rows)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_shows_services_executions_and_last_lines(plane: Plane, columns: int, rows: int) -> None:
    """All on one screen; a wide one also has whole fids. q leaves."""
    fids = fill(plane)
    plane.launch(flow="hello/broken", status="error", error={"type": "E", "message": "no luck"})
    plane.runners = [{**RUNNER, "cpu_s": None}]  # else a second look would make it 0%
    with top("--all", columns=columns, rows=rows) as screen:
        screen.shows("no luck" if columns == 200 else "error")
        screen.presses("\x1b[B")
        said = "number 2 says [b]hello[/b] \\x1b[31m"
        lines = screen.shows("hello/flow2", said, "100 MB", "Quit")
        assert lines[0].startswith("koco 0.1.0 · 2 nodes, ")
        service = next(line for line in lines if line.startswith(" hymn"))
        assert service.split() == ["hymn", "1", "live", "1", "0", "0", "-", "100", "MB"]
        row = next(line for line in lines if "hello/flow2" in line)
        for cell in ("running", " 25% ", " 2.5s ", "5 MB"):
            assert cell in row
        assert (fids[2] in row) is (columns == 200)
        assert [n for n, line in enumerate(lines) if "f Follow" in line] == [rows - 1], lines[-4:]
        screen.presses("q")
        assert screen.leaves(within_s=30) == 0


def test_follows_what_happens(plane: Plane) -> None:
    """New executions, other statuses and new lines appear; so do those of another filter."""
    [fid] = fill(plane, 1)
    with top() as screen:
        screen.shows("hello/flow0", "number 0 says")
        plane.emit(fid, "stdout", "and another line")
        screen.shows("and another line")
        plane.launch(("stdout", "x"), flow="hello/second")
        screen.shows("hello/second")
        plane.end(fid, "finished")
        screen.hides("hello/flow0")
        screen.presses("/")
        screen.shows("status=error flow=NAME words")
        screen.presses("status=finished\r")
        screen.shows("hello/flow0")
        screen.hides("hello/second")
        screen.presses("/")
        screen.shows("status=finished")
        screen.presses(" x=1\r")
        screen.shows("status=finished x=1", "'x' is not one of")
        screen.presses("\x1b")
        screen.hides("status=finished x=1")
        screen.presses(CTRL_C)
        assert screen.leaves(within_s=30) == 130


def test_cancels_after_a_question_and_retries(plane: Plane) -> None:
    """Anything but y leaves it alone."""
    [fid] = fill(plane, 1)
    with top("--all") as screen:
        screen.shows("hello/flow0")
        screen.presses("c")
        screen.shows(f"Cancel {fid}? [y/N]")
        screen.presses("n")
        screen.hides("[y/N]")
        assert plane.executions[fid]["status"] == "running"
        screen.presses("r")
        screen.shows("has not")
        screen.presses("c")
        screen.shows("[y/N]")
        screen.presses("y")
        screen.shows("is being cancelled")
        screen.until(lambda lines: any("hello/flow0  " in x and "cancelled" in x for x in lines))
        screen.presses("r")
        screen.shows("does it again")
        assert len(plane.executions) == 2
        screen.presses("?")
        screen.shows("cancel the execution; asks first")
        screen.presses("q")
        screen.hides("asks first")
        screen.presses("q")
        assert screen.leaves(within_s=30) == 0


def test_follows_and_answers_on_the_whole_terminal(plane: Plane) -> None:
    """The other command has the terminal; Ctrl-C or its end, and Enter, lead back."""
    [fid] = fill(plane, 1)
    plane.lock(fid)
    with top() as screen:
        screen.shows("hello/flow0", "awaiting")
        screen.presses("a")
        screen.shows("waits for an answer", "Answer (JSON")
        screen.presses("true\r")
        screen.shows("Enter goes back to koco top")
        screen.presses("\r")
        screen.shows("hello/flow0", "Follow")
        screen.presses("f")
        screen.shows("· running")
        screen.presses(CTRL_C)
        screen.shows("follows it again", "Enter goes back to koco top")
        screen.presses("\r")
        screen.shows("hello/flow0", "Follow")
        screen.presses("q")
        assert screen.leaves(within_s=30) == 0


def test_says_that_the_control_plane_is_away_and_recovers(plane: Plane) -> None:
    """What was last known stays on the screen."""
    fill(plane, 1)
    with top() as screen:
        screen.shows("hello/flow0")
        plane.away = True
        plane.launch(("stdout", "x"))
        screen.shows("trying again", "hello/flow0")
        plane.away = False
        screen.hides("trying again")
        plane.launch(("stdout", "x"), flow="hello/later")
        screen.shows("hello/later")


def test_an_empty_no_color_asks_for_nothing(plane: Plane) -> None:
    """Only one with a value turns colours off."""
    fill(plane, 2)
    for value, colour in (("1", "default"), ("", "cyan")):
        with Screen(["-m", "koco", "top"], env={"NO_COLOR": value}) as screen:
            lines = screen.shows("hello/flow0", "number 1 says")
            y = next(y for y, line in enumerate(lines) if "hello/flow0" in line)
            x = lines[y].find("running")
            assert screen.screen.buffer[y][x].fg == colour


def test_draws_only_what_changes(plane: Plane) -> None:
    """With nothing to tell, it writes little: no animation, no blinking, no busy loop."""
    fill(plane, 1)
    plane.launch(flow="hello/old", created=TS, started=TS)
    with top() as screen:
        screen.shows("hello/flow0", "hello/old")
        screen.written(1.0)
        assert screen.written(4.0) < 2000


def test_the_share_of_a_core_is_known_from_the_second_look_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of all runners of a service together."""
    usage: Any = facts.Usage()
    for now, cpu_s, cpu in ((10.0, 1.0, {}), (12.0, 1.5, {"hymn": 0.5}), (14.0, 1.5, {"hymn": 0})):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        usage.look([{**RUNNER, "id": each, "cpu_s": cpu_s} for each in "ab"])
        assert (usage.cpu, usage.memory_bytes) == (cpu, {"hymn": 200 << 20})


def test_without_a_terminal_names_the_command_for_it(plane: Plane, cli: Cli) -> None:
    """And shows nothing."""
    ran = cli("top")
    assert (ran.code, ran.out) == (2, "")
    assert "koco ps --watch" in ran.err


def test_a_wrong_filter_is_an_error_before_anything_is_drawn(plane: Plane) -> None:
    """Like that of a wrong option."""
    with top("colour=red") as screen:
        assert screen.leaves(within_s=30) == 2
        assert "'colour' is not one of status, flow" in "\n".join(screen.lines)
