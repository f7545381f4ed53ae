"""Schedules on a real clock: each time once, whatever dies meanwhile."""

import time
from collections import Counter
from datetime import datetime
from typing import Any

from tests.support.driver import Koco, eventually, kill9

CODE = """
    import asyncio, os

    async def tick(who: str = "nobody"):
        return who

    async def slow(path: str):
        while not os.path.exists(path):
            await asyncio.sleep(0.05)
"""


def _entry(flow: str, cron: str, **more: Any) -> dict[str, Any]:
    return {"flow": flow, "cron": cron, **more}


def _made(koco: Koco, flow: str) -> list[dict[str, Any]]:
    page = koco.get("/v1/executions", flow=flow, limit=1000)
    items: list[dict[str, Any]] = page["items"]
    return items


def _due(koco: Koco, execution: dict[str, Any]) -> str:
    [meta] = koco.get_events(execution["fid"], kind="meta")
    due: str = meta["payload"]["schedule"]["due"]
    return due


def test_each_time_is_launched_once_while_the_control_plane_is_killed(koco: Koco) -> None:
    """Around due times: none twice; what could not be launched in time is told as missed."""
    schedule = [_entry("tick", "*/2 * * * * *", inputs={"who": "Ada"})]
    app = koco.deploy("ticking", CODE, schedule=schedule)
    eventually(lambda: len(_made(app, "ticking/tick")) >= 2)
    for _ in range(2):
        # In the very moment in which one is due.
        time.sleep(2 - time.time() % 2)
        pid = app.control_pid()
        kill9(pid)
        eventually(lambda old=pid: app.control_pid() != old)
        time.sleep(2.5)
    app.run("deploy", cwd=app.project("ticking", CODE)).ok()  # without a schedule: it stops
    assert app.get("/v1/flows/ticking/tick")["schedule"] == []
    made = _made(app, "ticking/tick")
    time.sleep(2.5)
    assert len(_made(app, "ticking/tick")) == len(made)
    assert {each["user"] for each in made} == {"schedule"}
    dues = Counter(_due(app, each) for each in made)
    assert set(dues.values()) == {1}
    for each in made:
        ended = eventually(lambda fid=each["fid"]: _ended(app, fid))
        assert ended["status"] == "finished"
        assert ended["inputs"] == {"who": "Ada"}
    # What is due is launched at once, where somebody is there to do it.
    late = [_seconds(each["created"]) - _seconds(_due(app, each)) for each in made[-2:]]
    assert max(late) < 1.5


def test_missed_and_skipped_times_are_told(koco: Koco) -> None:
    """In `koco flows` and `koco status`; the next one runs when the former has ended."""
    gate = koco.root / "slow-gate"
    inputs = {"path": str(gate)}
    app = koco.deploy("slowly", CODE, schedule=[_entry("slow", "* * * * * *", inputs=inputs)])
    told = eventually(lambda: _schedule(app, "slowly/slow", "skipped"))
    [running] = _made(app, "slowly/slow")
    assert told["fid"] == running["fid"]
    assert "skipped: the run due at" in app.run("flows", "slowly/slow").ok().out
    assert "slow: skipped: the run due at" in app.run("status").ok().out
    kill9(app.control_pid())
    eventually(lambda: _schedule(app, "slowly/slow", "skipped"))
    gate.touch()
    eventually(lambda: len(_made(app, "slowly/slow")) > 1)
    assert app.run("flows").ok().out.splitlines()[0].endswith("\tnext")
    app.run("undeploy", "slowly", "--cancel", "--yes").ok()
    count = len(_made(app, "slowly/slow"))
    time.sleep(1.5)
    assert len(_made(app, "slowly/slow")) == count


def test_a_schedule_that_cannot_launch_fails_the_deploy(koco: Koco) -> None:
    """Its inputs are tried against the flow's form; the former release goes on."""
    root = koco.project("refused", CODE, schedule=[_entry("slow", "0 6 * * *")])
    done = koco.run("deploy", cwd=root)
    assert done.code == 5
    assert "schedule[0]: slow refuses its inputs: path: " in done.err


def _schedule(app: Koco, flow: str, what: str) -> Any:
    [told] = app.get(f"/v1/flows/{flow}")["schedule"]
    return told if told[what] else None


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _ended(app: Koco, fid: str) -> Any:
    execution = app.get(f"/v1/executions/{fid}")
    return execution if execution["finished"] else None
