"""`koco config`: the control plane's settings, over the API."""

import json

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


def test_lists_settings_with_their_defaults(plane: Plane, cli: Cli) -> None:
    """As `koco config set` takes them; `--changed` leaves out the others."""
    plane.settings["cors_origins"] = ["https://a.example.com", "https://b.example.com"]
    ran = cli("config", "list")
    assert ran.code == 0
    assert "max_body_mb\t16\t16\n" in ran.out
    assert "api_docs\tfalse\tfalse\n" in ran.out
    ran = cli("config", "list", "--changed")
    assert ran.out.splitlines()[1:] == [
        "cors_origins\thttps://a.example.com,https://b.example.com\t"
    ]


def test_gets_one_value(plane: Plane, cli: Cli) -> None:
    """Alone on its line, or with its default as JSON."""
    plane.settings["max_running"] = 5
    assert cli("config", "get", "max_running").out == "5\n"
    told = json.loads(cli("config", "get", "max_running", "--json").out)
    assert told == {"name": "max_running", "value": 5, "default": 0, "is_set": True}


def test_an_unknown_name_leads_to_the_nearest(plane: Plane, cli: Cli) -> None:
    """With exit code 2, as with `koco config set`."""
    ran = cli("config", "get", "max_runing")
    assert ran.code == cli("config", "set", "max_runing=1").code == 2
    assert "did you mean max_running?" in ran.err


def test_a_change_tells_before_and_after(plane: Plane, cli: Cli) -> None:
    """Of each setting, in the order of the arguments."""
    ran = cli("config", "set", "max_running=5", "max_body_mb=4")
    assert ran.code == 0
    assert ran.out == "name\tbefore\tvalue\nmax_running\t0\t5\nmax_body_mb\t16\t4\n"
    method, path, body = plane.requests[-1]
    assert (method, path) == ("PATCH", "/v1/settings")
    assert json.loads(body) == {"values": {"max_running": "5", "max_body_mb": "4"}}


def test_unset_goes_back_to_the_default(plane: Plane, cli: Cli) -> None:
    """Which the answer names."""
    plane.settings["max_running"] = 5
    told = json.loads(cli("config", "unset", "max_running", "--json").out)
    assert told["items"] == [
        {"name": "max_running", "value": 0, "default": 0, "is_set": False, "before": 5}
    ]
    assert json.loads(plane.requests[-1][2]) == {"values": {"max_running": None}}


@pytest.mark.parametrize(
    ("args", "hint"),
    [(("max_running", "50"), "max_running=50"), (("max_running",), "max_running=VALUE")],
)
def test_a_value_without_a_sign_is_answered_with_what_to_write(
    plane: Plane, cli: Cli, args: tuple[str, ...], hint: str
) -> None:
    """Before anything is sent."""
    ran = cli("config", "set", *args)
    assert ran.code == 2
    assert f"`koco config set {hint}`" in ran.err
    assert plane.requests == []


def test_a_terminal_shows_what_a_value_was(plane: Plane, terminal: Cli) -> None:
    """Within 80 columns."""
    ran = terminal("config", "set", "max_running=5")
    assert ran.out == "max_running  5 (was 0)\n"
    ran = terminal("config", "list", env={"NO_COLOR": "1", "TERM": "dumb"})
    assert "max_running" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())
