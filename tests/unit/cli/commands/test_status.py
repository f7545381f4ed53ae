"""`koco flows` and `koco status`."""

import json
import re

from tests.support.memory_plane import STATUS, Plane
from tests.unit.conftest import Cli


def test_status_names_missing_processes(plane: Plane, cli: Cli) -> None:
    """With what to do about it."""
    gone = {"name": "member:1:2", "why": "it waits for a node with koco-api"}
    plane.status = {**STATUS, "missing": [gone]}
    expected = f"{'':<15}member:1:2 is missing: it waits for a node with koco-api"
    assert expected in cli("status").out.splitlines()


def test_flows_lists_flows(plane: Plane, cli: Cli) -> None:
    """One line each, a list with a cursor as JSON."""
    assert cli("flows").out == "flow\trelease\tsummary\tnext\nhello/greet\t2\tGreet somebody\t-\n"
    assert json.loads(cli("flows", "--json").out)["items"][0]["name"] == "hello/greet"


def test_flows_shows_one_with_its_inputs(plane: Plane, cli: Cli) -> None:
    """The inputs, the required ones, and a command that works."""
    ran = cli("flows", "greet")
    assert re.search(r"^entrypoint +hello\.app:greet$", ran.out, re.M)
    rows = [line.split("\t") for line in ran.out.splitlines() if "\t" in line]
    assert rows == [
        ["input", "type", "required", "default", "label", "allowed"],
        ["who", "text", "yes", "", "Who", ""],
        ["size", "number", "no", "3", "", ""],
    ]
    assert ran.err == "to run it: koco run hello/greet -i who=… -f\n"


def test_flows_without_a_form_take_any_object(plane: Plane, cli: Cli) -> None:
    """Said, for nothing else would tell."""
    plane.flows["greet"] = {**plane.flows["greet"], "form": None}
    assert "any JSON object" in cli("flows", "greet").out


def test_flows_shows_the_limits_of_each_input(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """Choices, range, format, as `koco run` says them; a secret is not shown."""
    names = ["solemn", "merry", "melancholy", "whimsical", "elegiac"]
    form = [
        {"type": "select", "name": "tone", "label": "Tone", "option": names},
        {"type": "number", "name": "verses", "step": 1, "min_value": 1, "max_value": 9},
        {"type": "date", "name": "day", "min_date": "2026-01-01"},
        {"type": "password", "name": "token", "value": "s3cret", "min_length": 3},
        {"type": "slider", "name": "newer"},
    ]
    plane.flows["greet"] = {**plane.flows["greet"], "form": form}
    rows = [line.split("\t") for line in cli("flows", "greet").out.splitlines() if "\t" in line]
    assert {row[0]: row[5] for row in rows[1:]} == {
        "tone": ", ".join(names),
        "verses": "1 to 9",
        "day": "from 2026-01-01",
        "token": "at least 3 characters",
        "newer": "",
    }
    drawn = terminal("flows", "greet").out
    assert [line.rstrip() for line in drawn.partition("ABOUT")[2].splitlines()[1:7]] == [
        "tone    select    Tone (solemn, merry, melancholy, whimsical, elegiac)",
        "verses  number    (whole number, 1 to 9)",
        "day     date      (YYYY-MM-DD, from 2026-01-01)",
        "token   password  (not shown, at least 3 characters) […]",
        "newer   slider",
        "to run it: koco run hello/greet -f",
    ]


def test_wraps_long_texts(plane: Plane, terminal: Cli) -> None:
    """A terminal of 80 columns cuts nothing."""
    names = [f"an-option-of-some-length-{number}" for number in range(9)]
    form = [{"type": "select", "name": "which_of_them", "option": names}]
    plane.flows["greet"] = {**plane.flows["greet"], "form": form}
    drawn = terminal("flows", "greet", env={"TERM": "dumb"}).out
    assert all(f"{name}," in drawn or f"{name})" in drawn for name in names)
    assert max(len(line) for line in drawn.splitlines()) <= 80


def test_flows_gives_the_schema_of_the_inputs(plane: Plane, cli: Cli) -> None:
    """JSON Schema on stdout, for agents; a flow without a form takes any object."""
    schema = json.loads(cli("flows", "greet", "--schema").out)
    assert schema["properties"]["size"] == {"type": ["number", "null"], "default": 3}
    assert schema["required"] == ["who"]
    plane.flows["greet"] = {**plane.flows["greet"], "form": None}
    assert json.loads(cli("flows", "greet", "--schema").out) == {"type": "object"}
    assert cli("flows", "--schema").code == 2


def test_flows_suggests_a_similar_name(plane: Plane, cli: Cli) -> None:
    """Exit code 4."""
    ran = cli("flows", "gret")
    assert ran.code == 4
    assert "did you mean 'greet'?" in ran.err


def test_flows_on_a_terminal_notes_that_there_are_none(plane: Plane, terminal: Cli) -> None:
    """With a hint."""
    plane.flows.clear()
    assert "no flows yet: `koco deploy`" in terminal("flows").out


def test_status_shows_the_whole_state(plane: Plane, cli: Cli) -> None:
    """Ray and its nodes, control plane, store, services with their trouble, executions."""
    out = cli("status").out
    for told in (
        "0.1.0 at http://127.0.0.1:8400, process 42",
        "1 restart",
        "2.60.0, 3 nodes",
        "127.0.0.1 alive, 2 CPU (0.5 free), 3 license, 7.5 GB; zone=a",
        "10.0.0.3 alive, 2 CPU, 0.0 GB",
        "10.0.0.2 DEAD",
        "/data/koco.db, 2.4 MB",
        "release 2 failing, 0 runners: greet",
        "no runner starts",
        "release 1 live, 1 runner, endpoint running: hymn",
        "its Serve application: its environment; `koco deploy` restores it",
        "3 finished, 1 error",
    ):
        assert told in out


def test_status_fits_a_terminal(plane: Plane, terminal: Cli) -> None:
    """Long texts continue below, next to the name."""
    [service, *others] = STATUS["services"]
    flows = [f"flow-{number}" for number in range(20)]
    plane.status = {**STATUS, "services": [{**service, "flows": flows}, *others]}
    lines = terminal("status").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(" " * 15 + "flow-") for line in lines)


def test_status_as_json_is_the_apis_answer(plane: Plane, cli: Cli) -> None:
    """Scripts rely on it."""
    assert json.loads(cli("status", "--json").out) == STATUS


def test_status_lists_leftovers_in_ray(plane: Plane, cli: Cli) -> None:
    """With its execution, or with its service if the execution is unknown."""
    left = {"kind": "task", "name": "count", "service": "hello", "release": 2, "node": "ab"}
    plane.status = {
        **STATUS,
        "left": [
            {**left, "fid": "fid1", "pid": 42, "detached": False},
            {**left, "kind": "actor", "name": "Cache", "fid": None, "pid": 43, "detached": True},
        ],
    }
    assert cli("status").out.endswith(
        "left in Ray    task count of fid1, process 42\n"
        "               detached actor Cache of hello, release 2, process 43\n"
    )
