"""Ray heads on this machine, as their processes tell: stand-ins with their names and ports."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from koco.bootstrap import local_head, running_heads
from koco.cli.cluster import join
from koco.client import context_file
from koco.errors import NotAllowedError, UnreachableError, UsageError
from tests.support.driver import calm_s
from tests.unit.conftest import Cli

#: Listens on the port in its last argument, as a GCS does, and says so.
_GCS = """
import socket, sys
port = int(sys.argv[1].partition("=")[2])
with socket.create_server(("127.0.0.1", port)):
    print("listening", flush=True)
    sys.stdin.read()
"""

Gcs = Callable[..., str]


@pytest.fixture
def gcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    """Return a function that has a head run, which Ray would join, and gives its address."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    program = tmp_path / local_head.GCS
    program.symlink_to(sys.executable)
    (tmp_path / "ray").mkdir()
    with ExitStack() as running:

        def start(mark: str = "") -> str:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            process = running.enter_context(
                subprocess.Popen(
                    [program, "-c", _GCS, f"--gcs_server_port={port}"],
                    env={**os.environ, **({local_head.MARK: mark} if mark else {})},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            address = f"127.0.0.1:{port}"
            (tmp_path / "ray" / "ray_current_cluster").write_text(address)
            return address

        yield start


def test_knows_whose_a_head_is(gcs: Gcs) -> None:
    """One's own, another koco home's, or no head at all."""
    assert running_heads.at(gcs()) == running_heads.Head(os.getuid(), "")
    other = running_heads.at(gcs(mark="another"))
    assert other == running_heads.Head(os.getuid(), "another")
    assert (other.is_own, other.whose) == (False, "another koco home's")
    assert running_heads.Head(os.getuid() + 1, "").whose == "another user's"
    assert running_heads.at("127.0.0.1:1") is None


def test_does_not_join_another_homes_ray(gcs: Gcs, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says why, without asking Ray."""
    address = gcs(mark="another")
    assert join.joinable({}, free=False) == ""
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"a Ray is running at {address}, but it is another koco home's: starting a separate one"
    )


def test_does_not_wait_for_a_head_that_does_not_answer(
    gcs: Gcs, capsys: pytest.CaptureFixture[str]
) -> None:
    """It listens like a stopped GCS. Ray itself would try for 40 s."""
    address = gcs()
    began = calm_s()
    assert join.joinable({}, free=False) == ""
    assert calm_s() - began < 30
    assert (
        f"a Ray is running at {address}, but it has not answered for 5 s" in capsys.readouterr().err
    )


def test_does_not_trust_an_address_in_a_file(
    gcs: Gcs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a head's process on this machine shows whose it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert join.joinable({}, free=False) == ""
        assert "it is not this machine's" in capsys.readouterr().err


def test_free_ports_ask_for_a_separate_ray(gcs: Gcs, capsys: pytest.CaptureFixture[str]) -> None:
    """Even if there is one that could be joined."""
    address = gcs()
    assert join.joinable({}, free=True) == ""
    assert f"a Ray is running at {address}, but --free-ports" in capsys.readouterr().err


def test_joins_the_head_that_ray_address_names(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it, and remembers that. A dead one is an error."""
    address = gcs(mark="another")
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert join.joinable({}, free=False) == address
    with pytest.raises(UsageError, match="RAY_ADDRESS"):
        join.joinable({}, free=True)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"no Ray answers at 127\.0\.0\.1:1"):
        join.joinable({}, free=False)
    monkeypatch.delenv("RAY_ADDRESS")
    with monkeypatch.context() as as_another:
        as_another.setenv("RAY_ADDRESS", address)
        as_another.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(NotAllowedError, match="belongs to another user"):
            join.joinable({}, free=False)
    remembered = {"address": address, "asked": address}
    assert join.joinable(remembered, free=False) == address
    assert join.was_joined(address, remembered)
    assert not join.was_joined(address, {"address": address})


def test_a_program_that_has_taken_a_port_is_no_ray_that_was_joined(gcs: Gcs) -> None:
    """One's own head is; whatever listens at the port of one that is gone is not."""
    address = gcs()
    assert join.was_joined(address, {"address": address})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert not join.was_joined(address, {"address": address})


@pytest.mark.parametrize("named", ["", "auto", "local", "http://127.0.0.1:8265", "ray://a:10001"])
def test_other_values_of_ray_address_name_no_head(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for Ray's other tools."""
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert running_heads.requested_address() == ""


@pytest.mark.parametrize("named", ["http://127.0.0.1:8265", "ray://a:10001", "head"])
def test_says_that_a_ray_address_is_not_joined(
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Otherwise the user would take a Ray here for the one that it names."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    join.joinable({}, free=True)
    assert "RAY_ADDRESS" not in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", f" {named} ")
    assert join.joinable({}, free=True) == ""
    assert f"RAY_ADDRESS is {named}, which is not a Ray to join here" in capsys.readouterr().err


def test_strips_white_space_around_ray_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, and for Ray itself in the process that joins."""
    monkeypatch.setenv("RAY_ADDRESS", " 127.0.0.1:1\n")
    assert running_heads.requested_address() == "127.0.0.1:1"
    for address in ("127.0.0.1:1", "192.0.2.1:1"):
        assert local_head.joining_environment(address)["RAY_ADDRESS"] == "127.0.0.1:1"


def test_a_failed_up_leaves_contexts_alone(
    cli: Cli, gcs: Gcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new key is kept for the next try, readable only by its user."""
    (tmp_path / "ray.py").write_text("raise ImportError(\"No module named 'ray'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    context_file.save_context(context_file.Context("other", "http://127.0.0.1:1", "k"))
    before = context_file.contexts_path().read_bytes()
    done = cli("up", "--free-ports", "--port", "81")
    assert done.code == 1
    assert "Ray is not installed here" in done.err
    assert context_file.contexts_path().read_bytes() == before
    begun = context_file.load_begun()["local"]
    assert begun.key
    assert begun.cluster["api"] != 81, "what was asked in vain is not remembered"
    cli("up", "--free-ports")
    assert context_file.load_begun()["local"].key == begun.key
    assert context_file.contexts_path().read_bytes() == before


def test_one_process_at_a_time_chooses_ports() -> None:
    """Nobody else on this machine chooses until they are in use."""
    with local_head.turn() as held:
        assert held
        code = "import fcntl, os; fcntl.flock(os.open('/tmp', os.O_RDONLY), 6)"
        other = [sys.executable, "-c", code]
        refused = subprocess.run(other, capture_output=True, check=False)
        assert b"BlockingIOError" in refused.stderr
    subprocess.run(other, check=True)
    assert len(set(local_head.choose_ports({}, free=True).values())) == len(local_head.PORTS)


def test_rays_folder_belongs_to_its_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that somebody else has made under its name is not used."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(local_head, "_TEMPORARY", tmp_path)
    mine = Path(local_head.starting_environment("m")["RAY_TMPDIR"])
    assert mine == tmp_path / "koco-m"
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.chmod(0o777)
    assert Path(local_head.starting_environment("m")["RAY_TMPDIR"]) != mine
    monkeypatch.setenv("RAY_TMPDIR", "/elsewhere")
    assert local_head.starting_environment("m")["RAY_TMPDIR"] == "/elsewhere"


def test_a_control_plane_without_ray_releases_its_store(tmp_path: Path) -> None:
    """The one that has the store open is ended; others continue."""
    code = "import sys; held = open(sys.argv[1], 'w'); print(flush=True); sys.stdin.read()"
    with ExitStack() as running:
        planes = []
        for name in ("mine", "other"):
            (tmp_path / name).mkdir()
            command = ["ray::ControlPlane", "-c", code, str(tmp_path / name / "store.lock")]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            plane = running.enter_context(
                subprocess.Popen(command, executable=sys.executable, **pipes)
            )
            assert plane.stdout is not None
            plane.stdout.readline()
            planes.append(plane)
        assert running_heads.end_control_plane(tmp_path / "mine")
        planes[0].wait(60)
        assert planes[1].poll() is None
        assert not running_heads.end_control_plane(tmp_path / "mine")
