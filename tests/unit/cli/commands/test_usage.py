"""`koco usage`: executions, counted."""

import json
import re

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli

SUMS = {"executions": 1200, "duration_s": 90.0, "event_bytes": 2048, "file_bytes": 0}
USED = {"wall_s": 88.5, "cpu_s": 42.0, "peak_memory_bytes": 3_145_728}
USED |= {"ray_tasks": 7, "stored_bytes": 4096}
SUMS |= USED
ROW = {"flow": "hello/greet", "status": "finished", **SUMS, "p50_s": 0.25, "p95_s": None}


@pytest.fixture(autouse=True)
def counted(plane: Plane) -> None:
    plane.usage = [ROW]


def test_prints_fields_for_scripts(cli: Cli, plane: Plane) -> None:
    """With the columns of the groups first."""
    header, row = cli("usage").out.splitlines()
    assert header.split("\t")[:4] == ["flow", "status", "executions", "duration_s"]
    assert (
        row == "hello/greet\tfinished\t1200\t90.0\t0.25\t-\t2048\t0\t88.5\t42.0\t3145728\t7\t4096"
    )
    assert "by=flow%2Cstatus" in plane.requests[-1][1]


def test_draws_a_table_for_people(terminal: Cli) -> None:
    out = terminal("usage").out
    for part in ("RUNS", "P95", "1,200", "1m", "0.2s", "42s", "3 MB", "7", "4 kB"):
        assert part in out
    assert all(len(line) <= 80 for line in re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines())


def test_an_older_control_plane_does_not_know_what_they_used(terminal: Cli, plane: Plane) -> None:
    """It counts the executions."""
    plane.usage = [{name: value for name, value in ROW.items() if name not in USED}]
    assert "1,200" in terminal("usage").out


def test_is_json_if_asked(cli: Cli) -> None:
    assert json.loads(cli("usage", "--json").out) == {"items": [ROW], "next": None}


def test_filters_go_to_the_server(cli: Cli, plane: Plane) -> None:
    """A date is sent as it is, because days are in UTC."""
    args = ("--since", "2026-05-31", "--until", "24h", "--user", "ada", "--status", "failed")
    cli("usage", "--by", "user, day", "--flow", "hello/greet", *args)
    asked = plane.requests[-1][1]
    for part in ("by=day%2Cuser", "since=2026-05-31&", "until=20", "user=ada", "status=error"):
        assert part in asked


def test_refuses_unknown_groups(cli: Cli, plane: Plane) -> None:
    ran = cli("usage", "--by", "week")
    assert (ran.code, plane.requests) == (2, [])
    assert "day, service, flow, user, status" in ran.err


def test_says_that_there_is_nothing(terminal: Cli, plane: Plane) -> None:
    plane.usage = []
    assert "no executions yet" in terminal("usage").out
