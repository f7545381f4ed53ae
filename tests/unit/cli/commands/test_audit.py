"""`koco audit`: who changed what, for people and for programs."""

import json
import re
from typing import Any

import pytest

from tests.support.memory_plane import TS, Plane
from tests.unit.conftest import Cli


def entry(**facts: Any) -> dict[str, Any]:
    """Return an entry of the log."""
    usual = {"seq": 1, "ts": TS, "who": "ada", "credential": "key:ada", "action": "undeploy"}
    more = {"target": "hello", "outcome": "ok", "address": "192.0.2.7", "request": "r1"}
    return {**usual, **more, "detail": {}, **facts}


def test_the_log_is_shown_newest_first_with_its_details(plane: Plane, cli: Cli) -> None:
    """Tab-separated with a header, unless it is a terminal."""
    detail = {"scopes": ["read", "launch"]}
    plane.audit = [
        entry(action="create_key", target="ci", detail=detail),
        entry(who="", outcome="unauthorized", detail={"count": 9}),
    ]
    header, first, second = (line.split("\t") for line in cli("audit").out.splitlines())
    assert header[:5] == ["ts", "who", "action", "target", "outcome"]
    assert first[1:5] == ["ada", "create_key", "ci", "ok"]
    assert first[-1] == "scopes=read,launch"
    assert (second[1], second[4], second[-1]) == ("-", "unauthorized", "count=9")


def test_on_a_terminal_it_fits_eighty_columns(plane: Plane, terminal: Cli) -> None:
    """What does not fit of a target is cut."""
    plane.audit = [entry(target="hello/" + "x" * 90), entry(who="koco up", action="recover_admin")]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal("audit").out).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert "koco up" in lines[2]
    assert "recover_admin" in lines[2]


def test_sends_filters_to_the_control_plane(plane: Plane, cli: Cli) -> None:
    """Times are sent as RFC 3339 in UTC, in whatever form they are given."""
    cli("audit", "--since", "2026-01-31T13:00:00+01:00", "--who", "ada", "--outcome", "refused")
    [(_, path, _)] = plane.requests
    assert "since=2026-01-31T12%3A00%3A00.000000Z" in path
    assert "who=ada" in path
    assert "outcome=refused" in path
    assert "action" not in path


def test_long_logs_come_in_pages(plane: Plane, cli: Cli) -> None:
    """The requested number, and a note about the rest."""
    plane.audit = [entry(seq=number) for number in range(5)]
    ran = cli("audit", "--limit", "3", "--json")
    assert [each["seq"] for each in json.loads(ran.out)["items"]] == [0, 1, 2]
    assert json.loads(ran.out)["next"] == "3"
    assert "there are more" in cli("audit", "--limit", "3").err


@pytest.mark.parametrize("time", ["tomorrow", "", "24", "h", "-1h", "1e9h", "9" * 30 + "d"])
def test_refuses_invalid_times(plane: Plane, cli: Cli, time: str) -> None:
    """Before any request."""
    ran = cli("audit", "--since", time)
    assert ran.code == 2
    assert "--since" in ran.err
    assert not plane.requests
