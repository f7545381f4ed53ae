"""`koco ps --watch`: a table in place at a terminal, lines elsewhere."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.memory_plane import Plane
from tests.support.screen import Screen
from tests.support.typist import CTRL_C
from tests.unit.conftest import Cli


@contextmanager
def watching(*args: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "koco", "ps", "--watch", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_terminal_shows_a_table_that_changes_in_place(plane: Plane) -> None:
    """What ends leaves it, what begins joins it, and Ctrl-C ends it with the table left there."""
    fid = plane.launch(("stdout", "x"), flow="hello/first")
    with Screen(["-m", "koco", "ps", "--watch"]) as screen:
        lines = screen.shows("hello/first")
        assert lines[0].split()[:3] == ["FID", "FLOW", "STATUS"]
        plane.launch(("stdout", "x"), flow="hello/second")
        lines = screen.shows("hello/second")
        assert [line for line in lines if line][2].startswith(fid)
        plane.end(fid, "finished")
        screen.hides("hello/first")
        screen.presses(CTRL_C)
        assert screen.leaves(within_s=30) == 130
        assert "hello/second" in "\n".join(screen.lines)


def test_a_long_table_is_cut_at_the_height_of_the_terminal(plane: Plane) -> None:
    """And says how much is missing, so that redrawing it never scrolls."""
    for number in range(40):
        plane.launch(flow=f"hello/flow{number}")
    with Screen(["-m", "koco", "ps", "--watch"]) as screen:
        lines = screen.shows("more lines")
        assert lines[0].split()[0] == "FID"
        assert lines[22].startswith("… and 19 more lines")


def test_says_that_the_control_plane_is_away_and_recovers(plane: Plane) -> None:
    """The table stays as it was."""
    plane.launch(("stdout", "x"), flow="hello/first")
    with Screen(["-m", "koco", "ps", "--watch"]) as screen:
        screen.shows("hello/first")
        plane.away = True
        plane.launch(("stdout", "x"), flow="hello/second")
        screen.shows("trying again", "hello/first")
        plane.away = False
        screen.shows("hello/second")
        screen.hides("trying again")


def test_a_pipe_gets_a_header_once_and_a_line_for_each_change(plane: Plane) -> None:
    """The last line of an execution has its final status."""
    fid = plane.launch(("stdout", "x"))
    with watching("--format", "fid,status") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fid\tstatus\n"
        assert process.stdout.readline() == f"{fid}\trunning\n"
        plane.end(fid, "error")
        assert process.stdout.readline() == f"{fid}\terror\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_json_is_a_line_for_each_change(plane: Plane) -> None:
    """An execution that was deleted has a line, too."""
    fid = plane.launch(("stdout", "x"))
    with watching("--json", "--all", "--flow", "hello/greet") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["fid"] == fid
        plane.launch(flow="hello/other")
        other = plane.launch(("stdout", "x"))
        assert json.loads(process.stdout.readline())["fid"] == other
        del plane.executions[other]
        plane.emit(fid, "progress", {"done": 1})
        gone: dict[str, object] = {}
        while not gone.get("deleted"):
            gone = json.loads(process.stdout.readline())
        assert gone == {"fid": other, "deleted": True}


def test_refuses_what_contradicts_it_and_a_plane_that_is_not_there(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CSV is a whole list; and nothing is watched that never answered."""
    ran = cli("ps", "--watch", "--csv")
    assert (ran.code, "--csv is a whole list" in ran.err) == (2, True)
    monkeypatch.setenv("KOCO_RESTART_WAIT", "1")  # instead of fifteen seconds
    plane.away = True
    with watching() as process:
        assert process.wait(60) == 3
