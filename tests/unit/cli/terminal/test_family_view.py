"""`koco logs --children`: the streams of an execution and of those that it launches, as one."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

FINISHED = ("status", {"status": "finished"})
META = ("meta", {"flow": "publisher/publish"})
MARKDOWN = ("result", {"type": "markdown", "body": "# Hymn"})


def launched(fid: str, number: int = 0) -> tuple[str, Any]:
    """Return the event of a step that launched an execution."""
    key = f"call.publisher.publish:{number}"
    return "step", {"step": key, "kind": "call", "status": "waiting", "fid": fid}


@pytest.fixture
def family(plane: Plane) -> str:
    """An execution with a child, which has one, too."""
    plane.launch(META, ("stdout", "deep\nest"), FINISHED, fid="grandchild1", parent="child001")
    child = (META, ("stdout", "one"), launched("grandchild1"), ("stdout", "two"), FINISHED)
    plane.launch(*child, fid="child001", parent="root0001")
    root = (("stdout", "begin"), launched("child001"), ("stdout", "end"), FINISHED)
    return plane.launch(*root, fid="root0001")


LINES = {
    "begin",
    "step: call.publisher.publish:0 waiting for child001",
    "[child0 publisher/publish] one",
    "[child0 publisher/publish] step: call.publisher.publish:0 waiting for grandchild1",
    "[child0 publisher/publish] two",
    "[grandc publisher/publish] deep",
    "[grandc publisher/publish] est",
    "end",
}


@pytest.mark.parametrize("args", [(), ("-f",)])
def test_lines_of_children_begin_with_fid_and_flow(
    family: str, cli: Cli, args: tuple[str, ...]
) -> None:
    """Children of children, too; those of each execution keep their order."""
    ran = cli("logs", *args, "--children", family)
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert (len(lines), {*lines}) == (8, LINES)
    assert lines.index("begin") < lines.index("end")
    own = [line[27:] for line in lines if line.startswith("[child0")]
    assert own == ["one", "step: call.publisher.publish:0 waiting for grandchild1", "two"]


@pytest.mark.parametrize("args", [(), ("-f",)])
def test_lines_of_json_have_the_fid(family: str, cli: Cli, args: tuple[str, ...]) -> None:
    """Of each execution, also the first; everything else is as it came."""
    events = [*map(json.loads, cli("logs", *args, "--json", "--children", family).out.splitlines())]
    counts = {"root0001": 4, "child001": 5, "grandchild1": 3}
    for fid, count in counts.items():
        assert [each["seq"] for each in events if each["fid"] == fid] == [*range(1, count + 1)]
    ran = cli("logs", *args, "--json", "--children", "--kind", "stdout", family)
    kinds = {json.loads(line)["kind"] for line in ran.out.splitlines()}
    assert (len(ran.out.splitlines()), kinds) == (5, {"stdout"})


def test_stored_events_are_in_the_order_of_their_times(plane: Plane, cli: Cli) -> None:
    """Whichever execution they are of."""
    child = plane.launch(META, ("stdout", "2"), ("stdout", "4"), FINISHED, fid="child001")
    root = plane.launch(launched(child), ("stdout", "1"), ("stdout", "3"), ("stdout", "5"))
    for fid, times in ((child, (0, 2, 4, 6)), (root, (0, 1, 3, 5))):
        for at, second in enumerate(times):
            line = plane.events[fid][at].replace(b"12:00:00", b"12:00:%02d" % second)
            plane.events[fid][at] = line
    out = cli("logs", "--children", "-k", "stdout", root).out
    assert [line[-1] for line in out.splitlines()] == ["1", "2", "3", "4", "5"]
    plane.end(root, "finished")
    assert cli("logs", "-f", "--children", "-k", "stdout", root).out == out


def test_a_terminal_labels_children(plane: Plane, terminal: Cli) -> None:
    """Their statuses and Markdown, too."""
    child = plane.launch(META, MARKDOWN, FINISHED, fid="child001")
    root = plane.launch(launched(child), FINISHED)
    out = terminal("logs", "-f", "--children", root, env={"NO_COLOR": "1"}).out
    assert "[child0 publisher/publish] · finished\n" in out
    assert "[child0 publisher/publish] \n" in out
    assert "Hymn" in out
    assert "\n· finished\n" in out


def test_children_are_shown_as_they_come(plane: Plane) -> None:
    """Before their parent has ended; the exit code is the parent's outcome."""
    root = plane.launch()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "koco", "logs", "-f", "--children", root]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=env, **pipes) as process:
        assert process.stdout is not None
        child = plane.launch(META, fid="child001")
        plane.emit(root, *launched(child))
        assert "waiting for child001" in process.stdout.readline()
        plane.emit(child, "stdout", "early")
        assert process.stdout.readline() == "[child0 publisher/publish] early\n"
        plane.end(child, "finished")
        plane.end(root, "error")
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (1, "", f"{root} has ended: error\n")


def test_a_child_that_goes_on_is_left(plane: Plane, cli: Cli) -> None:
    """The command ends with the execution that was asked for, and says so."""
    child = plane.launch(META, fid="child001")
    root = plane.launch(launched(child), FINISHED)
    ran = cli("logs", "-f", "--children", root)
    assert ran.code == 0
    assert ran.err == f"{child} goes on; `koco logs -f {child}` follows it\n"


@pytest.mark.parametrize("args", [(), ("-f",)])
def test_a_child_that_is_gone_is_named(plane: Plane, cli: Cli, args: tuple[str, ...]) -> None:
    """It was deleted, or the user may not see it; the others are shown."""
    root = plane.launch(launched("gone0001"), ("stdout", "end"), FINISHED)
    ran = cli("logs", *args, "--children", root)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "end")
    assert ran.err == "gone0001 is not shown: no execution is called 'gone0001'\n"
    assert cli("logs", *args, "--children", "nope").code == 4


def test_many_children_are_shown(plane: Plane, cli: Cli) -> None:
    """Not all of them at once: a client may not open streams without end."""
    children = [
        plane.launch(META, ("stdout", "hi"), FINISHED, fid=f"{number:06}c") for number in range(90)
    ]
    steps = [launched(child, number) for number, child in enumerate(children)]
    root = plane.launch(*steps, FINISHED)
    for args in ((), ("-f",)):
        out = cli("logs", *args, "--children", "-k", "stdout", root).out
        assert len({*out.splitlines()}) == len(out.splitlines()) == 90
