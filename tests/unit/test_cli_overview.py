"""`koco flows` and `koco status`."""

import json
import re

from tests.unit.conftest import Cli
from tests.unit.plane import STATUS, Plane


def test_flows_lists_what_can_be_run(plane: Plane, cli: Cli) -> None:
    """One line each, a list with a cursor as JSON."""
    assert cli("flows").out == "flow\trelease\tsummary\nhello/greet\t2\tGreet somebody\n"
    assert json.loads(cli("flows", "--json").out)["items"][0]["name"] == "hello/greet"


def test_flows_shows_one_with_its_inputs(plane: Plane, cli: Cli) -> None:
    """What is asked for, what must be given, and a command that works."""
    ran = cli("flows", "greet")
    assert re.search(r"^entrypoint +hello\.app:greet$", ran.out, re.M)
    rows = [line.split("\t") for line in ran.out.splitlines() if "\t" in line]
    assert rows == [
        ["input", "type", "required", "default", "label"],
        ["who", "text", "yes", "", "Who"],
        ["size", "number", "no", "3", ""],
    ]
    assert ran.err == "run it: koco run hello/greet -i who=… -f\n"


def test_flows_without_a_form_take_any_object(plane: Plane, cli: Cli) -> None:
    """Said, for nothing else would tell."""
    plane.flows["greet"] = {**plane.flows["greet"], "form": None}
    assert "any JSON object" in cli("flows", "greet").out


def test_flows_names_what_is_near(plane: Plane, cli: Cli) -> None:
    """Exit code 4."""
    ran = cli("flows", "gret")
    assert ran.code == 4
    assert "did you mean 'greet'?" in ran.err


def test_flows_on_a_terminal_says_when_there_are_none(plane: Plane, terminal: Cli) -> None:
    """And what to do about it."""
    plane.flows.clear()
    assert "nothing is deployed yet: `koco deploy`" in terminal("flows").out


def test_status_says_what_runs(plane: Plane, cli: Cli) -> None:
    """Ray and its nodes, control plane, store, services with their trouble, executions."""
    out = cli("status").out
    for told in (
        "0.1.0 at http://127.0.0.1:8400, process 42",
        "1 restart",
        "2.60.0, 2 nodes",
        "10.0.0.2 DEAD",
        "/data/koco.db, 2.5 MB",
        "release 2 failing, 0 runners: greet",
        "no runner starts",
        "3 finished, 1 error",
    ):
        assert told in out


def test_status_as_json_is_what_the_api_says(plane: Plane, cli: Cli) -> None:
    """Scripts rely on it."""
    assert json.loads(cli("status", "--json").out) == STATUS
