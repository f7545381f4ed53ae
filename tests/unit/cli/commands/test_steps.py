"""`koco steps`, `send` and `resume`."""

import json
import re
from pathlib import Path

import pytest

from tests.support.memory_plane import LATER, TS, Plane
from tests.unit.conftest import Cli

FINISHED = ("status", {"status": "finished"})


@pytest.fixture
def fid(plane: Plane) -> str:
    """An execution with recorded steps."""
    found = plane.launch(fid="aaaa")
    plane.step(found, "fetch:0")
    plane.step(found, "1.2/summarise_a_long_text:0", attempt=3, duration_s=0.0042, preview="x" * 99)
    plane.step(found, "ask:0", "error", preview="ValueError: no\nsecond", size_bytes=0)
    plane.step(found, "sleep:0", "waiting", kind="sleep", duration_s=None, due=LATER)
    plane.step(found, "call.a.b:0", "waiting", kind="call", duration_s=None, child="bbbb")
    plane.step(found, "receive.n:0", "waiting", kind="receive", duration_s=None, due=LATER)
    plane.step(found, "lock.ok:0", "waiting", kind="lock", duration_s=None, due=LATER)
    return found


def test_piped_the_steps_are_a_table_for_scripts(fid: str, cli: Cli) -> None:
    """With a header, whole times and sizes; a preview stays on its line."""
    header, *rows = [line.split("\t") for line in cli("steps", fid).out.splitlines()]
    assert header == [
        *("key", "kind", "status", "attempt", "started", "duration_s", "size_bytes", "preview")
    ]
    assert rows[0] == ["fetch:0", "step", "finished", "1", TS, "1.24", "2048", "'x'"]
    assert rows[2][-1] == r"ValueError: no\nsecond"
    assert [row[-1] for row in rows[3:]] == [
        f"until {LATER}",
        "for bbbb",
        f"for a message until {LATER}",
        f"for a person until {LATER}",
    ]


def test_the_steps_fit_a_terminal_of_80_columns(plane: Plane, fid: str, terminal: Cli) -> None:
    """Only the outcome is shortened. The attempt is shown if there were several."""
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("steps", fid).out)
    header, *rows = out.splitlines()
    assert header.split() == ["STEP", "STATUS", "ATTEMPT", "TOOK", "SIZE", "OUTCOME"]
    assert all(len(row) <= 80 for row in rows)
    assert rows[1].split()[:5] == ["1.2/summarise_a_long_text:0", "finished", "3", "4ms", "2"]
    assert rows[1].rstrip().endswith("…")
    assert all("  until 2999-01-31" in row for row in (rows[3], *rows[5:]))
    other = plane.launch()
    plane.step(other, "fetch:0")
    assert "ATTEMPT" not in terminal("steps", other).out
    assert "it has no recorded steps" in terminal("steps", plane.launch()).out


def test_steps_as_json_are_one_list(plane: Plane, cli: Cli) -> None:
    """Made of as many pages as it takes; with a status, only those."""
    fid = plane.launch()
    for number in range(1100):
        plane.step(fid, f"fetch:{number}")
    plane.step(fid, "ask:0", "error")
    page = json.loads(cli("steps", "--json", "--limit", "2000").out)
    assert (len(page["items"]), page["next"]) == (1101, None)
    page = json.loads(cli("steps", "--json", "--status", "error").out)
    assert [each["key"] for each in page["items"]] == ["ask:0"]
    ran = cli("steps")
    assert (len(ran.out.splitlines()), "there are more" in ran.err) == (1001, True)


def test_the_export_is_a_file_for_tests(fid: str, cli: Cli, tmp_path: Path) -> None:
    """With everything that is recorded, so only its owner may read it."""
    file = tmp_path / "history.json"
    ran = cli("steps", fid, "--export", str(file))
    assert (ran.code, ran.out, ran.err) == (
        0,
        "",
        f"{file} has 7 steps; hidden inputs and secrets in results are in clear\n",
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text("utf-8"))["flow"] == "hello/greet"
    ran = cli("steps", fid, "--export", str(tmp_path))
    assert (ran.code, "Is a directory" in ran.err) == (74, True)


@pytest.mark.parametrize(
    ("args", "data"),
    [
        ([], None),
        (["-i", "text=Shorter", "-i", "by=Ada"], {"text": "Shorter", "by": "Ada"}),
        (["--data", "[1, null]"], [1, None]),
        (["--inputs", "-"], {"from": "stdin"}),
    ],
)
def test_a_message_has_any_value(
    plane: Plane, fid: str, cli: Cli, args: list[str], data: object
) -> None:
    """From pairs, a file, or JSON; none without."""
    ran = cli("send", "aa", "note", *args, stdin='{"from": "stdin"}')
    assert (ran.code, ran.out) == (0, "aaaa\tnote\n")
    assert plane.messages == [("aaaa", "note", data)]
    assert json.loads(cli("send", "aa", "note", "--json").out)["name"] == "note"


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["text=x"], "`-i text=x`"),
        (["note", "--data", "a b"], """--data '"a b"'"""),
        (["note", "--data", "1", "-i", "a=b"], "-i makes an object"),
        (["note", "--data", "[NaN]"], "a number that JSON does not have"),
        (["note", "--data", r'"\ud800"'], "not UTF-8"),
        (["note", "--data", '{"a": 1, "a": 2}'], "the key 'a' is given twice"),
        (["note", "--data", "[" * 100_000], "nested too deep"),
    ],
)
def test_a_wrong_message_is_explained(
    plane: Plane, fid: str, cli: Cli, args: list[str], hint: str
) -> None:
    """Nothing is sent."""
    ran = cli("send", "aa", *args)
    assert (ran.code, hint in ran.err, plane.messages) == (2, True, [])


def test_a_message_has_a_key_of_its_own_or_the_given_one(plane: Plane, fid: str, cli: Cli) -> None:
    """A script that is run again sends it once."""
    assert cli("send", "aa", "note", "--key", "once").code == 0
    assert plane.keys == ["once"]
    for _ in range(2):
        assert cli("send", "aa", "note").code == 0
    assert len(set(plane.keys)) == 3
    assert cli("send", "aa", "note", "--key", "ü").code == 2


def test_an_ended_execution_takes_no_message(plane: Plane, cli: Cli) -> None:
    """Exit code 2, as for every conflict."""
    plane.launch(FINISHED, fid="bbbb")
    assert cli("send", "bbbb", "note").code == 2


def test_a_resume_prints_the_new_fid(plane: Plane, cli: Cli) -> None:
    """From the failed step on the execution's own release, unless told otherwise."""
    former = plane.launch(("status", {"status": "error"}))
    ran = cli("resume", former, "--key", "once")
    assert (ran.code, plane.requests[-1][2]) == (0, {"from": None, "release": "own"})
    assert plane.executions[ran.out.strip()]["resume_of"] == former
    assert plane.keys[-1] == "once"
    cli("resume", former, "--from", "fetch:3", "--release", "live")
    assert plane.requests[-1][2] == {"from": "fetch:3", "release": "live"}


def test_a_resume_can_follow_to_the_outcome(plane: Plane, cli: Cli) -> None:
    """As a launch does."""
    former = plane.launch(("status", {"status": "error"}))
    plane.script = [("stdout", "hi"), FINISHED]
    ran = cli("resume", former, "--follow")
    assert (ran.code, ran.out) == (0, "hi\n")
    assert cli("resume", former, "--release", "newest").code == 2
    assert cli("resume", plane.launch()).code == 2


def test_show_tells_of_resumes_waits_and_relatives(plane: Plane, fid: str, cli: Cli) -> None:
    """Where it comes from, what it has launched, and what it waits for."""
    facts = {"resumed": 3, "attempt": 2, "attempts": 3, "parent": "pppp", "parked": True}
    plane.emit(fid, "status", {"status": "sleeping", "parked": True})
    plane.executions[fid] |= facts
    plane.launch(FINISHED, fid="bbbb", parent=fid, resume_of="oooo", retry_of="rrrr")
    lines = cli("show", fid).out.splitlines()
    assert "attempt   2 of at most 3" in lines
    assert "resumed   3 times" in lines
    assert "parent    pppp" in lines
    assert f"waits     sleep:0 until {LATER}, since {TS}" in lines
    assert f"waits     call.a.b:0 for bbbb, since {TS}" in lines
    assert not [each for each in lines if "lock.ok:0" in each]  # an open lock has a line of its own
    assert "child     bbbb hello/greet finished" in lines
    assert f"parked    since {TS}; it has no process until its wait ends" in lines
    lines = cli("show", "bbbb").out.splitlines()
    assert {"resume of oooo", "retry of  rrrr"} <= {*lines}
    ended = plane.launch(FINISHED, resumed=2, attempt=1, attempts=3)
    assert "attempt" not in cli("show", ended).out


def test_ps_lists_children(plane: Plane, cli: Cli) -> None:
    """Those that have ended, too."""
    fid = plane.launch()
    plane.launch(FINISHED, fid="bbbb", parent=fid)
    assert re.findall("^....(?=\t)", cli("ps", "--parent", fid).out, re.M) == ["bbbb"]


def test_a_sleeping_execution_has_not_ended(plane: Plane, cli: Cli) -> None:
    """Waiting for it goes on; it is listed among those that run."""
    fid = plane.launch(("status", {"status": "sleeping"}))
    assert cli("wait", fid, "--timeout", "0.3").code == 124
    assert cli("wait", fid, "--timeout", "0.3", "--no-input").code == 124
    assert fid in cli("ps").out
    assert fid in cli("ps", "--status", "parked").out
