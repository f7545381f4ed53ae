"""What the command line tells of schedules, limits and retries."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from koco.errors import TooManyError
from tests.support.memory_plane import STATUS, TS, Plane
from tests.unit.conftest import Cli

NEXT = "2026-02-01T06:00:00.000000Z"
SCHEDULE: dict[str, Any] = {
    **{"cron": "0 6 * * *", "timezone": "Europe/Berlin", "overlap": False, "catch_up": True},
    **{"next": NEXT, "last": TS, "fid": "fid0", "missed": 2, "missed_at": NEXT},
    **{"skipped": 1, "skipped_at": "2026-01-01T00:00:00.000000Z", "trouble": None},
}
LIMITS = {"running": 3, "queue": None, "timeout": 600.0, "retries": 1, "retry_errors": True}
WHY = "3 run of at most 3"


def test_flows_shows_the_next_run(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """The column is shown if a flow has a schedule, and always for scripts, with the exact time."""
    assert "NEXT" not in terminal("flows").out
    due = (datetime.now(UTC) + timedelta(hours=3.5)).isoformat()
    plane.flows["greet"] = {**plane.flows["greet"], "schedule": [{**SCHEDULE, "next": due}]}
    assert re.search(r"NEXT.*\n.*in 3h", terminal("flows").out)
    assert cli("flows").out.endswith(f"\t{due}\n")
    plane.flows["greet"] = {**plane.flows["greet"], "schedule": [SCHEDULE]}
    assert re.search(r"NEXT.*\n.*now", terminal("flows").out)


def test_flows_shows_limits_and_schedules(plane: Plane, cli: Cli) -> None:
    """Only times that were missed since the last run."""
    flow = {**plane.flows["greet"], "limits": LIMITS, "schedule": [SCHEDULE]}
    plane.flows["greet"] = flow
    out = cli("flows", "greet").out
    assert re.search(
        r"^limits +3 running, 600 s a run, 1 retry \(also after errors\)$", out, re.MULTILINE
    )
    said = re.findall(r"^schedule +(.*)$", out, re.MULTILINE)
    assert said == [
        f"0 6 * * * (Europe/Berlin), next {NEXT}, last {TS} as fid0, catch up",
        f"missed: the run due at {NEXT}, because nothing could launch it (2 so far)",
    ]
    assert json.loads(cli("flows", "greet", "--json").out)["schedule"] == [SCHEDULE]


def test_flows_without_limits_or_schedules_say_nothing_of_them(plane: Plane, cli: Cli) -> None:
    """Neither do those of a control plane without schedules."""
    for more in ({}, {"limits": {"running": None, "retries": 0}, "schedule": []}):
        plane.flows["greet"] = {**plane.flows["greet"], **more}
        assert not re.search("limits|schedule", cli("flows", "greet").out)


def test_status_shows_waiting_and_missed_runs(plane: Plane, cli: Cli) -> None:
    """Below the service that it is about; nothing of flows that have nothing to do."""
    [service, *others] = STATUS["services"]
    idle = {"flow": "idle", "running": 0, "waiting": 0, "max_running": 3, "max_queue": None}
    load = {"flow": "greet", "running": 3, "waiting": 7, "max_running": 3, "max_queue": None}
    trouble = "5 executions of hello/greet wait already"
    schedule = {**SCHEDULE, "flow": "greet", "trouble": trouble}
    service = {**service, "load": [idle, load], "schedule": [schedule]}
    plane.status = {**STATUS, "services": [service, *others]}
    lines = [line.strip() for line in cli("status").out.splitlines()]
    assert "greet: 3 running of at most 3, 7 waiting" in lines
    assert not any(line.startswith("idle:") for line in lines)
    assert f"greet: not launched yet, and tried again: {trouble}" in lines
    assert any(line.startswith("greet: missed: the run due at 2026-02-01T06") for line in lines)


def test_ps_and_show_say_why_one_waits(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """With the attempt; a terminal shows the column if an execution waits."""
    running = plane.launch()
    assert "WHY" not in terminal("ps").out
    fid = plane.launch(status="queued", started=None, waits=WHY, attempt=2, attempts=3)
    out = re.sub(r"\x1b\[[0-9;]*m", "", terminal("ps").out)
    assert re.search(rf"{fid} .* {WHY}", out)
    assert max(map(len, out.splitlines())) <= 80
    assert {row.split("\t")[0]: row.split("\t")[6] for row in cli("ps").out.splitlines()} == {
        **{"fid": "waits", running: "-", fid: WHY}
    }
    shown = cli("show", fid).out
    assert re.search(r"^attempt +2 of at most 3$", shown, re.MULTILINE)
    assert re.search(rf"^waits +{WHY}$", shown, re.MULTILINE)


def test_following_goes_on_through_a_retry(plane: Plane, cli: Cli, terminal: Cli) -> None:
    """A failed attempt is not the end: its error is shown, and that another attempt follows."""
    error = {"type": "ValueError", "message": "no", "traceback": "ValueError: no"}
    again = {"status": "queued", "attempt": 2, "not_before": TS}
    end = [("final", "well"), ("status", {"status": "finished"})]
    fid = plane.launch(("error", error), ("status", again), *end)
    ran = cli("logs", "-f", fid)
    assert (ran.code, ran.out) == (0, "ValueError: no\nwell\n")
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", terminal("logs", "-f", fid).out)
    assert re.search(r"· queued: attempt 2 begins at \S*.* ?\d\d:\d\d", drawn)
    assert drawn.endswith("· finished\n")


def test_a_launch_beyond_the_limits_exits_with_9(plane: Plane, cli: Cli) -> None:
    """Nothing on stdout; a hint on stderr, also as JSON."""
    message = "5 executions of hello/greet wait already, and at most 5 may: limits.queue"
    plane.refuses = TooManyError(message, hint="try again later")
    ran = cli("run", "greet", "-i", "who=Ada")
    assert (ran.code, ran.out) == (9, "")
    assert ran.err == f"error: {message}\nhint: try again later\n"
    ran = cli("run", "greet", "-i", "who=Ada", "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (9, "too_many")
