"""`koco limits`: show and override the limits of flows."""

import json

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


def test_shows_all_flows(plane: Plane, cli: Cli) -> None:
    """With what counts, what the manifest says, and who set it."""
    ran = cli("limits")
    assert ran.code == 0
    assert ran.out.splitlines()[1] == "hello/greet\tnone\tnone\tnone\tnone\t\t\t"


def test_overrides_and_resets(plane: Plane, cli: Cli) -> None:
    """Only what is given is sent; `none` is null."""
    ran = cli("limits", "greet", "--running", "5", "--queue", "none", "--until-deploy", "--json")
    assert json.loads(plane.requests[-1][2]) == {
        **{"running": 5, "queue": None, "until_deploy": True}
    }
    assert json.loads(ran.out)["running"] == 5
    assert cli("limits", "greet").out.splitlines()[1].startswith("hello/greet\t5\tnone\tnone")
    assert json.loads(cli("limits", "greet", "--reset", "--json").out)["override"] is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--running", "5"), "of which flow"),
        (("greet", "--running", "many"), "a whole number or none"),
        (("greet", "--running", "-1"), "a whole number or none"),
        (("greet", "--reset", "--running", "1"), "--reset excludes"),
        (("greet", "--until-deploy"), "needs --running or --queue"),
    ],
)
def test_refuses_what_makes_no_sense(
    plane: Plane, cli: Cli, args: tuple[str, ...], said: str
) -> None:
    """Before anything is sent."""
    ran = cli("limits", *args)
    assert ran.code == 2
    assert said in ran.err
    assert plane.requests == []


def test_a_terminal_shows_who_and_the_manifest(plane: Plane, terminal: Cli) -> None:
    """In one line of 80 columns."""
    ran = terminal("limits", "greet", "--running", "5", env={"NO_COLOR": "1", "TERM": "dumb"})
    line = ran.out.splitlines()[1]
    assert "5 (manifest: none)" in line
    assert "by admin" in line
    assert len(line) <= 80
