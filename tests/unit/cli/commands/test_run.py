"""`koco run`: requests, output and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.driver import calm_s
from tests.support.memory_plane import Plane
from tests.support.typist import Typist
from tests.unit.conftest import Cli

STATUS = "status"
FINISHED = [("stdout", "hi"), ("final", {"n": 1}), (STATUS, {"status": "finished"})]
FAILED = [
    ("error", {"type": "ValueError", "message": "no", "traceback": "Traceback\nValueError: no"}),
    (STATUS, {"status": "error"}),
]
CANCELLED = [(STATUS, {"status": "cancelled"})]
OUTCOMES = [(FINISHED, 0), (FAILED, 1), (CANCELLED, 7)]


def test_it_prints_the_fid_and_nothing_else(plane: Plane, cli: Cli) -> None:
    """`fid=$(koco run …)` works; inputs go as given."""
    ran = cli("run", "greet", "-i", "who=Ada", "-i", "size=2")
    assert (ran.code, ran.out, ran.err) == (0, "fid0000000000000\n", "")
    assert plane.requests[-1][2] == {"who": "Ada", "size": "2"}


def test_asks_for_the_values_that_a_form_shows_at_first(plane: Plane, cli: Cli) -> None:
    """Nobody is asked, so the control plane fills in what Kodosumi's panel would send."""
    cli("run", "greet", "-i", "who=Ada")
    assert plane.preferences == ["prefilled"]


def test_json_has_the_fid(plane: Plane, cli: Cli) -> None:
    """For those who parse everything."""
    assert json.loads(cli("run", "greet", "--json").out) == {"fid": "fid0000000000000"}


def test_inputs_come_from_a_pipe(plane: Plane, cli: Cli) -> None:
    """`--inputs -` reads an object, YAML too, from stdin."""
    assert cli("run", "hello/greet", "--inputs", "-", stdin="who: Ada\n").code == 0
    assert plane.requests[-1][2] == {"who": "Ada"}


def test_reports_refused_inputs_by_field(plane: Plane, cli: Cli) -> None:
    """One line for each message, a hint that shows the form, exit code 2."""
    ran = cli("run", "greet", "-i", "who=nobody")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "error: who: must be somebody",
        "error: who: must be known",
        "error: size: must be a number",
        "hint: `koco flows greet` shows its inputs",
    ]


def test_refused_inputs_as_json_have_their_fields(plane: Plane, cli: Cli) -> None:
    """Scripts get the API's own form, on stderr."""
    wire = json.loads(cli("run", "greet", "-i", "who=nobody", "--json").err)
    assert wire["errors"]["size"] == ["must be a number"]


def test_an_unknown_flow_is_not_found(plane: Plane, cli: Cli) -> None:
    """Exit code 4, with the server's hint."""
    ran = cli("run", "gret")
    assert ran.code == 4
    assert "hint: did you mean 'greet'?" in ran.err


@pytest.mark.parametrize(("script", "code"), OUTCOMES)
def test_following_shows_the_events_and_exits_with_the_outcome(
    plane: Plane, cli: Cli, script: list[tuple[str, object]], code: int
) -> None:
    """The fid goes to stderr: stdout is the flow's."""
    plane.script = script
    ran = cli("run", "greet", "-f")
    assert ran.code == code
    assert ran.err.startswith("fid0000000000000\n")
    assert "fid0000000000000" not in ran.out
    if code == 0:
        assert ran.out == 'hi\n{"n": 1}\n'


@pytest.mark.parametrize(("script", "code"), OUTCOMES)
def test_waiting_is_silent_and_exits_with_the_outcome(
    plane: Plane, cli: Cli, script: list[tuple[str, object]], code: int
) -> None:
    """The fid, and no word more."""
    plane.script = script
    ran = cli("run", "greet", "--wait")
    assert (ran.code, ran.out, ran.err) == (code, "fid0000000000000\n", "")


def test_waiting_with_json_prints_fid_and_outcome(plane: Plane, cli: Cli) -> None:
    """Two lines of JSON: at once, and at the end."""
    plane.script = FAILED
    ran = cli("run", "greet", "--wait", "--json")
    first, last = map(json.loads, ran.out.splitlines())
    assert first == {"fid": "fid0000000000000"}
    assert (last["status"], last["error"]["message"]) == ("error", "no")
    assert ran.code == 1


@pytest.mark.parametrize("how", ["--wait", "-f"])
def test_a_limit_ends_the_waiting_not_the_execution(plane: Plane, cli: Cli, how: str) -> None:
    """Exit code 124, in time, though the stream is silent."""
    began = calm_s()
    ran = cli("run", "greet", how, "--timeout", "0.3")
    assert calm_s() - began < 5
    assert ran.code == 124
    assert "fid0000000000000 has not ended within 0.3 s; it goes on" in ran.err
    assert "koco logs -f fid0000000000000" in ran.err
    assert not [path for method, path, _ in plane.requests if "cancel" in path]


@pytest.mark.parametrize(
    "args",
    [
        ("--timeout", "3"),
        ("--wait", "--timeout", "0"),
        ("--wait", "--timeout", "nan"),
        ("-f", "--wait"),
        ("-i", "who"),
        ("--inputs", "nope.json"),
    ],
)
def test_contradictory_options_launch_nothing(
    plane: Plane, cli: Cli, args: tuple[str, ...]
) -> None:
    """Exit code 2 before anything is sent."""
    assert cli("run", "greet", *args).code == 2
    assert plane.requests == []


@pytest.mark.parametrize("how", ["--wait", "-f"])
def test_ctrl_c_leaves_it_running_and_shows_how_to_follow_again(
    plane: Plane, tmp_path: Path, how: str
) -> None:
    """Exit code 130; no cancel is sent."""
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "run", "greet", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        plane.wait_for("/events")
        time.sleep(0.2)  # its answer has begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "fid0000000000000 goes on; `koco logs -f fid0000000000000`" in err
    assert "Traceback" not in out + err
    assert not [path for _, path, _ in plane.requests if "cancel" in path]


def test_a_wrong_key_is_not_allowed(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 6."""
    monkeypatch.setenv("KOCO_KEY", "koco_other")
    assert cli("run", "greet").code == 6


def test_a_missing_control_plane_is_unreachable(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, naming the URL."""
    monkeypatch.setenv("KOCO_URL", "http://127.0.0.1:9")
    ran = cli("run", "greet")
    assert ran.code == 3
    assert "http://127.0.0.1:9" in ran.err


def test_a_key_goes_with_the_launch(plane: Plane, cli: Cli) -> None:
    """Unchanged; without a key there is no header."""
    assert cli("run", "greet", "-i", "who=Ada", "--key", "order 7").code == 0
    assert cli("run", "greet", "-i", "who=Ada").code == 0
    assert plane.keys == ["order 7", None]


@pytest.mark.parametrize("key", ["", " a", "a\n", "ä", "k" * 256])
def test_refuses_a_key_that_does_not_fit_a_header(plane: Plane, cli: Cli, key: str) -> None:
    """Exit code 2 before anything is sent."""
    ran = cli("run", "greet", "--key", key)
    assert (ran.code, plane.requests) == (2, [])
    assert "is not a valid idempotency key" in ran.err


@pytest.mark.parametrize("args", [(), ("-i", "who=Ada"), ("--no-input",)])
def test_a_script_is_never_asked_and_sends_one_request(
    plane: Plane, cli: Cli, args: tuple[str, ...]
) -> None:
    """Without a terminal the form is not even fetched."""
    assert cli("run", "greet", *args).code == 0
    assert [method for method, _, _ in plane.requests] == ["POST"]


def run_at(args: str, tmp_path: Path) -> Typist:
    """Return somebody at a terminal who runs a flow; stdout goes to a file."""
    return Typist(["-m", "koco", "run", *args.split()], stdout=tmp_path / "fid")


def test_a_person_is_asked_for_the_inputs(plane: Plane, tmp_path: Path) -> None:
    """On stderr: stdout has the fid and nothing else, also with --json."""
    with run_at("greet --json", tmp_path) as typist:
        typist.types("Ada\n")
        typist.types("\n")
        assert typist.leaves() == 0
    assert json.loads((tmp_path / "fid").read_text()) == {"fid": "fid0000000000000"}
    assert plane.requests[-1][2] == {"who": "Ada", "size": 3}
    assert [line.rstrip() for line in typist.seen.splitlines()] == [
        "Hello",
        "Who (required)",
        "> Ada",
        "size (number) [3]",
        ">",
    ]


def test_asks_only_for_refused_inputs_if_some_are_given(plane: Plane, tmp_path: Path) -> None:
    """Typed text is offered again; valid values are kept, and left-out fields stay left out."""
    greet = plane.flows["greet"]
    more = [{"type": "text", "name": "other"}, {"type": "date", "name": "day"}]
    plane.flows["greet"] = {**greet, "form": [*greet["form"], *more]}
    with run_at("greet -i who=nobody -i size=x -i other=1", tmp_path) as typist:
        typist.sees("error: who: must be somebody\nerror: who: must be known\n")
        typist.types("Ada\n", after="Who (required) [nobody]\n> ")
        typist.types("\n", after="size (number) [x]\n> ")
        typist.types("4\n", after="must be a number, got 'x'\n> ")
        assert typist.leaves() == 0
    bodies = [body for method, _, body in plane.requests if method == "POST"]
    assert bodies[-1] == {"who": "Ada", "size": 4, "other": "1"}
    assert "Hello" not in typist.seen


def test_right_inputs_are_launched_without_a_question(plane: Plane, tmp_path: Path) -> None:
    """If all inputs are given, nothing is asked and the form is not fetched."""
    with run_at("greet -i who=Ada", tmp_path) as typist:
        assert typist.leaves() == 0
    assert typist.seen == ""
    assert [method for method, _, _ in plane.requests] == ["POST"]


def test_no_input_asks_nobody(plane: Plane, tmp_path: Path) -> None:
    """The refusal is reported, with exit code 2."""
    with run_at("greet --no-input -i who=nobody", tmp_path) as typist:
        assert typist.leaves() == 2
    assert "error: who: must be somebody" in typist.seen
    assert "hint: `koco flows greet` shows its inputs" in typist.seen


def test_ends_if_no_answer_can_fix_the_inputs(plane: Plane, tmp_path: Path) -> None:
    """An unknown input is reported and not asked for."""
    form = [{"type": "text", "name": "whom"}]
    plane.flows["greet"] = {**plane.flows["greet"], "form": form}
    with run_at("greet -i who=nobody", tmp_path) as typist:
        assert typist.leaves() == 2
    assert "error: who: must be somebody" in typist.seen


@pytest.mark.parametrize(
    ("key", "said"), [("\x03", ""), ("\x04", "error: the form was not completed")]
)
def test_leaving_the_form_launches_nothing(
    plane: Plane, tmp_path: Path, key: str, said: str
) -> None:
    """Ctrl-C and Ctrl-D: exit code 130."""
    with run_at("greet", tmp_path) as typist:
        typist.types(key)
        assert typist.leaves() == 130
    assert said in typist.seen
    assert "Traceback" not in typist.seen
    assert [method for method, _, _ in plane.requests] == ["GET"]
