"""Versions that meet: what is told, once, and what it leads to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from koco import __version__, versions
from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

NEWER = f"{int(__version__.partition('.')[0]) + 1}.0.0"
OLDER = "0.0.9"


@pytest.mark.parametrize(
    ("ours", "theirs", "matters"),
    [
        ("0.1.0", "0.1.0", False),
        ("0.1.0", "0.1.7", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("1.0.0", "1.9.3", False),
        ("1.9.0", "2.0.0", True),
        ("0.1.0", "0.1.1.dev3", False),
        ("0.1.0", "", False),
        ("0.1.0", "nginx", False),
    ],
)
def test_which_differences_matter(ours: str, theirs: str, *, matters: bool) -> None:
    """Before 1.0 those of the minor version, later those of the major one; either way round."""
    assert versions.matters(ours, theirs) is matters
    assert versions.matters(theirs, ours) is matters


def test_what_is_newer() -> None:
    """As packages compare, and nothing is newer that is no version."""
    assert versions.is_newer("0.10.0", "0.9.0")
    assert not versions.is_newer("0.9.0", "0.10.0")
    assert not versions.is_newer("0.1.0", "0.1.0")
    assert not versions.is_newer("nginx", "0.1.0")


@pytest.mark.parametrize(
    ("version", "hint"), [(OLDER, "`koco up` upgrades it"), (NEWER, "upgrade koco on this machine")]
)
def test_another_version_is_told_once(plane: Plane, cli: Cli, version: str, hint: str) -> None:
    """On stderr, with what to do; stdout is as ever, and so is the exit code."""
    usual = cli("ps", "--json")
    assert "warning:" not in usual.err
    plane.version = version
    told = cli("ps", "--json")
    assert (told.code, told.out) == (0, usual.out)
    assert told.err.count("warning:") == 1
    assert f"is koco {version}, this is {__version__}" in told.err
    assert hint in told.err


def test_a_follower_is_told_once(plane: Plane, cli: Cli) -> None:
    """However many requests a command makes."""
    fid = plane.launch(("result", 1), ("status", {"status": "finished"}))
    plane.version, plane.cuts = OLDER, [1]
    told = cli("logs", fid, "-f")
    assert told.code == 0
    assert told.err.count("warning:") == 1


def test_nobody_to_tell_is_no_error(plane: Plane) -> None:
    """With stderr closed, or gone, the command goes on."""
    plane.version = OLDER
    command = [sys.executable, "-m", "koco", "ps", "--json"]
    shell = f"exec {' '.join(command)} 2>&-"
    closed = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, check=False)
    assert (closed.returncode, closed.stdout[:1]) == (0, b"{")
    reader, writer = os.pipe()
    os.close(reader)
    gone = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (gone.returncode, gone.stdout[:1]) == (0, b"{")


def test_a_route_that_is_not_there_yet_says_so(plane: Plane, cli: Cli) -> None:
    """An older control plane lacks what this koco asks for: upgrade it."""
    plane.version = OLDER
    plane.missing = {"locks"}
    told = cli("inbox")
    assert told.code == 4
    assert f"koco {OLDER} runs there: `koco up` upgrades it" in told.err


def test_requests_tell_the_version(plane: Plane, cli: Cli) -> None:
    """The control plane hears which koco asks."""
    cli("ps")
    assert plane.heard == __version__


def test_code_is_known_by_its_content(tmp_path: Path) -> None:
    """A copy is the same, whatever its dates; another line makes another."""
    import shutil

    place = tmp_path / "koco"
    shutil.copytree(versions.HERE, place, ignore=shutil.ignore_patterns("__pycache__"))

    def of_copy() -> str:
        script = "from koco import versions; print(versions.code_digest())"
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", script]
        return subprocess.check_output(command, env=env, cwd=tmp_path, text=True).strip()

    assert of_copy() == versions.code_digest()
    with (place / "errors.py").open("a") as file:
        file.write("#\n")
    assert of_copy() != versions.code_digest()
