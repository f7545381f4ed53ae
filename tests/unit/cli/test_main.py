"""What becomes of errors: a message, a hint and an exit code; never a bare traceback."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from koco import errors
from koco.cli import connection
from koco.cli.main import COMMANDS
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


def test_an_unknown_command_names_the_nearest(plane: Plane, cli: Cli) -> None:
    """Exit code 2, and a hint that works when followed."""
    ran = cli("statuss")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: there is no command 'statuss'\nhint: did you mean `koco status`?\n"


def test_an_unknown_command_without_a_similar_one_points_to_the_list(
    plane: Plane, cli: Cli
) -> None:
    """No guess is better than a wild one."""
    assert "hint: `koco --help` lists the commands" in cli("xyzzy").err


def test_explains_where_a_global_option_goes(plane: Plane, cli: Cli) -> None:
    """Many users will type `koco ps --context x`."""
    ran = cli("ps", "--context", "x")
    assert ran.code == 2
    assert "hint: it goes before the command: `koco --context … ps`" in ran.err


def test_the_context_flag_counts(plane: Plane, cli: Cli) -> None:
    """It is put over KOCO_URL: one that is not known is not found."""
    try:
        assert cli("--context", "nope", "ps").code == 4
    finally:
        connection.choose(None)


def test_without_arguments_it_shows_its_help(plane: Plane, cli: Cli) -> None:
    """On stderr, because nothing was requested."""
    ran = cli()
    assert (ran.code, ran.out) == (2, "")
    assert all(f"  {name.partition(' ')[0]} " in ran.err for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(plane: Plane, cli: Cli, name: str) -> None:
    """On stdout, exit code 0, with its example."""
    ran = cli(*name.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Example: koco {name}" in ran.out


def test_an_unknown_command_of_a_group_names_the_nearest(plane: Plane, cli: Cli) -> None:
    """As for other commands; a group alone lists its commands."""
    ran = cli("files", "putt", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: there is no command 'files putt'\nhint: did you mean `koco files put`?\n"
    )
    assert "hint: `koco files --help` lists the commands" in cli("files", "xyzzy").err
    alone = cli("files")
    assert (alone.code, alone.out) == (2, "")
    assert "  put " in alone.err


ERRORS = [
    (errors.KocoError("m", hint="h"), 1),
    (errors.UsageError("m", hint="h"), 2),
    (errors.ConflictError("m", hint="h"), 2),
    (errors.NotFoundError("m", hint="h"), 4),
    (errors.DeployError("m", hint="h"), 5),
    (errors.NotAllowedError("m", hint="h"), 6),
    (errors.CancelledError("m", hint="h"), 7),
    (errors.TimedOutError("m", hint="h"), 124),
    (errors.Interrupted("m", hint="h"), 130),
]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_prints_an_api_error_with_its_exit_code(
    plane: Plane, cli: Cli, error: errors.KocoError, code: int
) -> None:
    """The error on one line, the hint on the next, nothing on stdout."""
    plane.refuses = error
    ran = cli("status")
    assert (ran.code, ran.out, ran.err) == (code, "", "error: m\nhint: h\n")


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_an_error_with_json_is_its_wire_form(
    plane: Plane, cli: Cli, error: errors.KocoError, code: int
) -> None:
    """On stderr: stdout is for results."""
    plane.refuses = error
    ran = cli("status", "--json")
    assert (ran.code, ran.out) == (code, "")
    error.request_id = "req1"  # told by the control plane, for whoever asks it about that
    assert json.loads(ran.err) == error.to_wire()


def test_without_a_key_the_hint_shows_how_to_get_one(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not how a header is written."""
    monkeypatch.delenv("KOCO_KEY")
    ran = cli("status")
    assert ran.code == 6
    assert ran.err.endswith(f"hint: set KOCO_KEY, or save a key with `koco login {plane.url}`\n")


def test_an_unexpected_error_is_called_a_bug(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 1; KOCO_DEBUG shows the traceback."""
    monkeypatch.setitem(COMMANDS, "missing", "A command without a module.")
    ran = cli("missing")
    assert ran.code == 1
    assert ran.err.startswith("error: unexpected ModuleNotFoundError: ")
    assert "this is a bug" in ran.err
    assert "Traceback" not in ran.err
    monkeypatch.setenv("KOCO_DEBUG", "1")
    assert "Traceback" in cli("missing").err


def test_a_removed_current_folder_is_a_usage_error(plane: Plane, cli: Cli, tmp_path: Path) -> None:
    """Commands that need no folder work there; the others report the problem."""
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    assert cli("ps").code == 0
    for command in ("validate", "plan", "deploy", "init"):
        ran = cli(command)
        assert (ran.code, ran.err.splitlines()[0]) == (
            2,
            "error: the current folder no longer exists",
        )


def test_without_a_home_the_environment_is_enough(
    plane: Plane, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user may have no name, and HOME may be unset."""
    (tmp_path / "koco.yaml").write_text(
        "service: hello\nflows: [{name: greet, entrypoint: 'app:greet'}]\n"
    )
    (tmp_path / "app.py").write_text("def greet(): ...\n")
    plane.releases = [{"status": "live"}]
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("KOCO_HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert [cli(*args).code for args in (["ps"], ["plan"], ["deploy"])] == [0, 0, 0]
    monkeypatch.delenv("KOCO_URL")
    for command in ("ps", "up"):
        ran = cli(command)
        assert (ran.code, "HOME is not set" in ran.err) == (2, True)


def test_up_names_the_folder_that_it_cannot_write(
    plane: Plane, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk, say: koco's directory can be elsewhere."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "file" / "home"))
    ran = cli("up")
    assert ran.code == 2
    assert ran.err.endswith("hint: set KOCO_HOME to another folder\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["logs"], ["ps", "-a"]])
def test_a_pipe_that_is_closed_ends_it_quietly(
    plane: Plane, args: list[str], unbuffered: str
) -> None:
    """Nothing on stderr, and the code that a shell gives for it: no outcome is claimed."""
    plane.end(plane.launch(("stdout", "hi")), "finished")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "koco", *args],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_not_an_error(plane: Plane, closed: int) -> None:
    """`koco … >&-` throws results away, and the exit code says how it went."""
    command = f'"$0" -m koco "$@" {closed}{"<" if closed == 0 else ">"}&-'
    from_stdin = ["run", "greet", "--inputs", "-"]
    for args, code in ((["status"], 0), (["status", "--json"], 0), (from_stdin, 2)):
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, *args], capture_output=True, check=False
        )
        assert done.returncode == code, done
        assert b"Traceback" not in done.stderr


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not on this system")  # noqa: PTH110


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["version"],
        ["ps", "-a"],
        ["ps", "-a", "--json"],
        ["logs", "-f"],
        ["logs", "-f", "--json"],
        ["result"],
        ["flows", "greet"],
    ],
)
def test_a_full_disk_is_reported_as_such(plane: Plane, args: list[str], unbuffered: str) -> None:
    """It is not a bug, and its exit code is not an outcome: the output is incomplete."""
    plane.end(plane.launch(("final", "hi")), "finished")
    done = ran_into("/dev/full", args, unbuffered)
    assert done.returncode == 74, done
    where = "(?: to stdout)?" if unbuffered else " to stdout"
    assert re.search(rf"cannot write{where}: No space left on device", done.stderr)
    assert "bug" not in done.stderr and "Traceback" not in done.stderr


@FULL
def test_an_error_goes_before_a_full_disk(plane: Plane) -> None:
    """If nothing was written, the error is more important."""
    done = ran_into("/dev/full", ["show", "nope"], "")
    assert done.returncode == 4 and "no execution is called 'nope'" in done.stderr


@FULL
@pytest.mark.parametrize("args", [["logs", "-f"], ["show", "nope"], ["xyzzy"], ["ps", "--json"]])
def test_a_full_stderr_changes_nothing(plane: Plane, args: list[str]) -> None:
    """Neither the work nor the exit code changes."""
    plane.end(plane.launch(("stdout", "hi")), "cancelled")
    code = {"logs": 7, "show": 4, "xyzzy": 2, "ps": 0}[args[0]]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "koco", *args], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.returncode == code
    assert done.stdout == (b"hi\n" if args[0] == "logs" else done.stdout)


@FULL
def test_a_file_without_space_is_reported_as_such(plane: Plane) -> None:
    """By the system's own words, as of stdout."""
    from koco.cli.terminal import output

    error = output.unwritten(OSError(errno.ENOSPC, "No space left on device", "x/a.csv"))
    assert error is not None and error.exit_code == 74
    assert error.message == "cannot write x/a.csv: No space left on device"
    assert output.unwritten(PermissionError(errno.EACCES, "Permission denied", "x")) is None


def ran_into(path: str, args: list[str], unbuffered: str) -> "subprocess.CompletedProcess[str]":
    """Run a command whose stdout is a file."""
    with open(path, "w") as out:  # noqa: PTH123
        return subprocess.run(
            [sys.executable, "-m", "koco", *args],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
