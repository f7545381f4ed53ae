"""Durable flows: what a step costs, and how soon they go on after their runner has died.

The baseline is DBOS on SQLite with its defaults, in a process that has nothing else to do.
"""

import contextlib
import datetime as dt
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench import baselines
from tests.bench.measures import Bench, latency
from tests.bench.meters import Spread
from tests.bench.plane import Plane
from tests.bench.report import Row

_AGAINST = "DBOS on SQLite"
#: How many flows run steps at once, and how many steps each.
_FLOWS = 100
_STEPS = 100
#: How long a flow is waited for that goes on after its process has died (seconds).
_PATIENCE_S = 30.0


def steps(bench: Bench) -> Iterator[Row]:
    """Time steps that do nothing: one after another, a thousand gathered, in a hundred flows."""
    plane = bench.plane
    bench.service("durable")
    base = dbos(bench, "steps", bench.some(500))
    yield from (_one_by_one(bench, base), _together(plane, base), _at_once(plane, base))


def _one_by_one(bench: Bench, base: dict[str, float]) -> Row:
    spreads = {}
    for name in ("one-by-one", "one-by-one-sync"):
        result_of(bench.plane, name, count=50)
        spreads[name] = Spread.of(result_of(bench.plane, name, count=bench.some(2000))["took"])
    spread, sync = spreads.values()
    call = latency.actor_call(bench)["baseline"]
    return Row(
        name="steps",
        measure="a step that does nothing, one after another, p50",
        value=spread.p50,
        unit="ms",
        bar=1.5,
        baseline=base["p50"],
        against=_AGAINST,
        more={
            "p99": spread.p99,
            "its p99": base["p99"],
            "sync p50": sync.p50,
            "a bare Ray actor call": call,
        },
    )


def _together(plane: Plane, base: dict[str, float]) -> Row:
    rates = [1000 / result_of(plane, "together", count=1000) for _ in range(4)][1:]
    return Row(
        name="steps",
        measure="  steps of one flow, 1,000 gathered",
        value=statistics.median(rates),
        unit="/s",
        bar=5000,
        at_least=True,
        baseline=base["gather"],
        against=_AGAINST,
        more={"worst": min(rates), "best": max(rates)},
    )


def _at_once(plane: Plane, base: dict[str, float]) -> Row:
    """Return the rate of the steps of many flows, from the first one's begin to the last end."""
    fids = [plane.launch(plane.wire, "durable/one-by-one", count=_STEPS) for _ in range(_FLOWS)]
    results = [_result(plane, fid) for fid in fids]
    took = max(each["ended"] for each in results) - min(each["began"] for each in results)
    return Row(
        name="steps",
        measure=f"  steps of {_FLOWS} flows at once",
        value=_FLOWS * _STEPS / took,
        unit="/s",
        bar=5000,
        at_least=True,
        baseline=base["flows"],
        against=_AGAINST,
    )


def result_of(plane: Plane, flow: str, **inputs: Any) -> Any:
    """Run a durable flow; return its result."""
    return _result(plane, plane.launch(plane.wire, f"durable/{flow}", **inputs))


def _result(plane: Plane, fid: str) -> Any:
    with plane.connect() as wire:
        text = b"".join(wire.stream(f"/v1/executions/{fid}/events?follow=1&kind=final,error"))
    for line in text.splitlines():
        if line and (event := json.loads(line))["kind"] in ("final", "error"):
            if event["kind"] == "error":
                raise RuntimeError(f"{fid}: {event['payload']}")
            return event["payload"]
    raise RuntimeError(f"{fid} has no result")


def resume(bench: Bench) -> Iterator[Row]:
    """Kill the runner of a flow while another one is warm, a few times."""
    bench.service("durable")
    rounds = [_kill(bench.plane, 0) for _ in range(bench.some(10))]
    base = [_kill_dbos(bench, 0) for _ in range(3)]
    took = [each.first - each.killed for each in rounds]
    yield Row(
        name="resume",
        measure="runner killed -9: to the first new step on another one, warm, p50",
        value=statistics.median(took),
        unit="s",
        bar=1.5,
        baseline=statistics.median(each.first - each.killed for each in base),
        against=f"{_AGAINST}, its process started anew",
        more={"worst": max(took), "kills": len(took)},
    )


def replay(bench: Bench) -> Iterator[Row]:
    """Do the same with a thousand recorded steps: how long does the next one have to wait?"""
    bench.service("durable")
    rounds = [_kill(bench.plane, 1000) for _ in range(bench.some(10))]
    base = [_kill_dbos(bench, 1000) for _ in range(3)]
    yield Row(
        name="replay",
        measure="replay of 1,000 recorded steps, from `starting` to step 1,001, p50",
        value=statistics.median(each.first - each.starting for each in rounds) * 1e3,
        unit="ms",
        bar=100,
        baseline=statistics.median(each.first - each.began for each in base) * 1e3,
        against=f"{_AGAINST}, from the flow's begin",
        more={
            "from the flow's begin": statistics.median(r.first - r.began for r in rounds) * 1e3,
            "from the kill (s)": statistics.median(r.first - r.killed for r in rounds),
            "its, with its start (s)": statistics.median(r.first - r.killed for r in base),
        },
    )


@dataclass(frozen=True, slots=True)
class _Resumed:
    """When a flow's process was killed, and when it went on in another (seconds since 1970)."""

    killed: float
    #: The first statement of the flow, and its first new step.
    began: float
    first: float
    #: Its status, before the other process knew of it.
    starting: float = 0.0


def _kill(plane: Plane, count: int) -> _Resumed:
    """Kill a flow's runner after so many recorded steps."""
    _until_warm(plane)
    log = plane.root / f"log-{time.time_ns()}"
    fid = plane.launch(plane.wire, "durable/work", log=str(log), count=count)
    pid = _lines(log, beyond=20)[-1][0]
    killed = time.time()
    psutil.Process(int(pid)).kill()
    _, began, first = next(line for line in _lines(log, without=pid) if line[0] != pid)
    plane.wire.json("POST", f"/v1/executions/{fid}/cancel", {})
    plane.wait_idle()
    return _Resumed(killed, began, first, _starting(plane, fid))


def _starting(plane: Plane, fid: str) -> float:
    """Return when an execution was last `starting`."""
    text = plane.wire.request("GET", f"/v1/executions/{fid}/events?kind=status")
    events = [json.loads(line) for line in text.splitlines()]
    stamps = [each["ts"] for each in events if each["payload"]["status"] == "starting"]
    return dt.datetime.fromisoformat(stamps[-1]).timestamp()


def _until_warm(plane: Plane) -> None:
    """Wait until both runners of the service are there and have nothing to do."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        [service] = [
            each
            for each in plane.wire.json("GET", "/v1/status")["services"]
            if each["name"] == "durable"
        ]
        if service["runners"] == len(plane.runners("durable")) == 2:
            time.sleep(2)  # what a new process does at first is not measured
            return
        time.sleep(0.1)
    raise TimeoutError("the runners did not become warm")


def _lines(
    log: Path, *, beyond: int = 0, without: float | None = None
) -> list[tuple[float, float, float]]:
    """Wait until a log has more lines, or one without that process; return them."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = [_three(line) for line in log.read_text().splitlines()]
            if len(found) > beyond and (without is None or found[-1][0] != without):
                return found
        time.sleep(0.005)
    raise TimeoutError(f"the flow did not go on within {_PATIENCE_S:g} s")


def _three(line: str) -> tuple[float, float, float]:
    pid, began, at = map(float, line.split())
    return pid, began, at


def _kill_dbos(bench: Bench, count: int) -> _Resumed:
    """Do the same with DBOS: its process is started again at once."""
    folder = bench.plane.root / f"dbos-{time.time_ns()}"
    python = _python(bench)
    with baselines.start_dbos(python, "work", folder, count) as process:
        pid = _lines(folder / "log", beyond=20)[-1][0]
        killed = time.time()
        process.kill()
    with baselines.start_dbos(python, "recover", folder) as process:
        lines = _lines(folder / "log", without=pid)
        process.kill()
    _, began, first = next(line for line in lines if line[0] != pid)
    return _Resumed(killed, began, first)


def dbos(bench: Bench, what: str, *arguments: object) -> dict[str, float]:
    """Run a baseline once."""
    folder = bench.plane.root / f"dbos-{what}"
    return baselines.run_dbos(_python(bench), what, folder, *arguments)


def _python(bench: Bench) -> str:
    if "dbos" not in bench.notes:
        bench.notes["dbos"] = baselines.dbos_python(bench.plane.root / "dbos")
    python: str = bench.notes["dbos"]
    return python
