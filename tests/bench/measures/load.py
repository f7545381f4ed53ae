"""Many executions: short ones for as long as one likes, and sleeping ones all at once."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.bench import baselines
from tests.bench.measures import Bench
from tests.bench.meters import Memory, cpu_s, peak
from tests.bench.plane import Plane
from tests.bench.report import Row

_CONNECTIONS = 8
_SLEEPERS = 50


def _launch_all(plane: Plane, flow: str, count: int, **inputs: float) -> float:
    """Launch so many over a few connections; return the seconds until all had ended."""
    shares = [count // _CONNECTIONS + (n < count % _CONNECTIONS) for n in range(_CONNECTIONS)]

    def some(share: int) -> None:
        with plane.connect() as wire:
            for _ in range(share):
                plane.launch(wire, flow, **inputs)

    begin = time.perf_counter()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(some, shares))
    return plane.wait_idle() - begin


def short(bench: Bench) -> Iterator[Row]:
    """Launch trivial flows without a pause."""
    for service, what in (("one", "default runner"), ("many", "concurrency 100")):
        flow, count = f"{bench.service(service)}/trivial", bench.some(1500)
        _launch_all(bench.plane, flow, count // 5)
        control = psutil.Process(bench.plane.pid())
        runners = bench.plane.runners(service)
        before, of_runners = cpu_s(control), sum(map(cpu_s, runners))
        rates = [count / _launch_all(bench.plane, flow, count) for _ in range(3)]
        cpu_us = (cpu_s(control) - before) / (3 * count) * 1e6
        figures = {"control plane's CPU, µs each": cpu_us}
        # A runner that has started meanwhile has spent most of its CPU on that.
        if bench.plane.runners(service) == runners:
            spent = sum(map(cpu_s, runners)) - of_runners
            figures["runners' CPU, µs each"] = spent / (3 * count) * 1e6
        yield Row(
            name="short",
            measure=f"short executions, sustained, end to end, {what}",
            value=statistics.median(rates),
            unit="/s",
            bar=200,
            at_least=True,
            more={
                "worst": min(rates),
                "best": max(rates),
                **figures,
            },
        )


def sleepers(bench: Bench) -> Iterator[Row]:
    """Launch 50 async flows that sleep 5 s at once, in one runner; then as many that block."""
    yield from _sleepers(bench, "sleep", "flows")
    yield from _sleepers(bench, "sleep-sync", "sync flows")


def _sleepers(bench: Bench, name: str, what: str) -> Iterator[Row]:
    plane, flow = bench.plane, f"{bench.service('many')}/{name}"
    processes = plane.processes()
    before = Memory.of(processes)
    with peak(lambda: Memory.of(plane.processes()), every_s=1.5) as seen:
        took = _launch_all(plane, flow, _SLEEPERS, seconds=5)
    common = {"name": "sleepers"}
    measure = f"50 {what} of 5 s at once, concurrency 100"
    yield Row(measure=measure, value=took, unit="s", bar=6, **common)
    most = max(seen, key=lambda memory: memory.pss)
    yield Row(
        measure="  memory more while they run, PSS of all processes",
        value=max(0.0, most.pss - before.pss),
        unit="MB",
        bar=300,
        more={"RSS": max(0.0, most.rss - before.rss)},
        **common,
    )


def process_each(bench: Bench) -> Iterator[Row]:
    """Launch the same with a process each, when none is there."""
    plane, flow = bench.plane, f"{bench.service('each')}/sleep"
    deadline = time.monotonic() + 20
    while plane.runners("each") and time.monotonic() < deadline:
        time.sleep(0.2)
    # Seldom: reading the memory of fifty processes takes from what is timed.
    with peak(lambda: Memory.of(plane.runners("each")), every_s=4.0) as seen:
        took = _launch_all(plane, flow, _SLEEPERS, seconds=5)
    each = max(seen, key=lambda memory: memory.processes).each()
    time.sleep(3)  # the last of them leave
    bare = {} if bench.quick else baselines.run("fleet", plane.address, _SLEEPERS, 5)
    against = "bare Ray actors"
    common = {"name": "each"}
    yield Row(
        measure="50 flows of 5 s at once, a process each, from cold",
        value=took,
        unit="s",
        bar=30,
        baseline=bare.get("took"),
        against=against,
        **common,
    )
    for kind, bar in (("pss", 100), ("uss", 100), ("rss", None)):
        yield Row(
            measure=f"  memory of each process, {kind.upper()}",
            value=getattr(each, kind),
            unit="MB",
            bar=bar,
            baseline=bare.get(kind),
            against=against,
            more={"processes seen": each.processes} if kind == "pss" else {},
            **common,
        )
