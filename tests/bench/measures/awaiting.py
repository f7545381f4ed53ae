"""Many executions that all await a person at once, and are all answered."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from tests.bench.measures import Bench
from tests.bench.meters import Memory
from tests.bench.plane import Plane
from tests.bench.report import Row
from tests.bench.wire import Wire

_CONNECTIONS = 8
#: How long the CPU is looked at while all wait (seconds).
_LOOK_S = 10.0


def approvals(bench: Bench) -> Iterator[Row]:
    """Launch a thousand at `concurrency: 100`, wait until all ask, answer all over the API."""
    yield from _approvals(bench, "approve", "executions")


def approvals_sync(bench: Bench) -> Iterator[Row]:
    """Do the same with flows that block, each its thread."""
    yield from _approvals(bench, "approve-sync", "sync executions")


def _approvals(bench: Bench, name: str, what: str) -> Iterator[Row]:
    plane, count = bench.plane, bench.some(1000)
    flow = f"{bench.service('awaiting')}/{name}"
    _until_few(plane)
    before = Memory.of(plane.processes())
    begin = time.perf_counter()
    _each(plane, range(count), lambda wire, _: plane.launch(wire, flow))
    _until_awaiting(plane, count)
    asked_s = time.perf_counter() - begin
    time.sleep(3)  # what is freed late is not kept
    during, runners = Memory.of(plane.processes()), len(plane.runners("awaiting"))
    cpu = _cpu(plane)
    locks = plane.wire.json("GET", "/v1/locks?limit=1000")["items"]
    assert len(locks) == count, len(locks)
    begin = time.perf_counter()
    _each(plane, locks, _answer)
    answered_s = time.perf_counter() - begin
    settled_s = plane.wait_idle() - begin
    assert plane.wire.json("GET", "/v1/locks?limit=1")["items"] == []
    more = {"runners": runners, "all": during.pss - before.pss}
    yield _row(
        f"{count} {what} awaiting: memory of each, PSS",
        _per(count, before, during),
        "MB",
        bar=1.0,
        more=more,
    )
    yield _row("  until all await, from the first launch", asked_s, "s")
    yield _row(
        "  control plane's CPU meanwhile",
        cpu["control"],
        "%",
        bar=2.0,
        more={"all runners": cpu["runners"]},
    )
    yield _row(
        "  until all have ended, from the first answer",
        settled_s,
        "s",
        more={"until the last answer": answered_s},
    )


def _row(measure: str, value: float, unit: str, **more: Any) -> Row:
    return Row(name="awaiting", measure=measure, value=value, unit=unit, **more)


def _per(count: int, before: Memory, during: Memory) -> float:
    return max(0.0, during.pss - before.pss) / count


def _until_few(plane: Plane, *, timeout_s: float = 60.0) -> None:
    """Wait until the runners of the measure before have left: all but one of them start anew."""
    deadline = time.perf_counter() + timeout_s
    while len(plane.runners("awaiting")) > 1 and time.perf_counter() < deadline:
        time.sleep(0.2)


def _each(plane: Plane, items: Any, do: Callable[[Wire, Any], object]) -> None:
    """Do something for each over a few connections."""
    work = list(items)

    def some(share: list[Any]) -> None:
        with plane.connect() as wire:
            for item in share:
                do(wire, item)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(some, [work[at::_CONNECTIONS] for at in range(_CONNECTIONS)]))


def _answer(wire: Wire, lock: dict[str, Any]) -> None:
    wire.json("POST", f"/v1/executions/{lock['fid']}/locks/{lock['lid']}", {"ok": True})


def _until_awaiting(plane: Plane, count: int, *, timeout_s: float = 120.0) -> None:
    deadline = time.perf_counter() + timeout_s
    while (now := plane.wire.json("GET", "/v1/status")["executions"].get("awaiting")) != count:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{now} of {count} await after {timeout_s:g} s")
        time.sleep(0.05)


def _cpu(plane: Plane) -> dict[str, float]:
    """Return how much of a core the control plane and the runners use, over a while."""
    groups = {"control": [psutil.Process(plane.pid())], "runners": plane.runners("awaiting")}

    def used() -> dict[str, float]:
        times = {name: [each.cpu_times() for each in group] for name, group in groups.items()}
        return {name: sum(t.user + t.system for t in found) for name, found in times.items()}

    first, begin = used(), time.perf_counter()
    time.sleep(_LOOK_S)
    last, took = used(), time.perf_counter() - begin
    return {name: 100 * (last[name] - first[name]) / took for name in groups}
