"""One thing at a time: how long a launch, its first event, its end and an event take."""

import json
import time
from collections.abc import Iterator
from typing import Any

from tests.bench import baselines
from tests.bench.measures import Bench
from tests.bench.meters import Spread, cpu_percent, samples_ms, timed_ms
from tests.bench.plane import Plane
from tests.bench.report import Row
from tests.bench.wire import ANY_KEY, Wire


def accepted(bench: Bench) -> Iterator[Row]:
    """Launch: until the fid is there, committed."""
    plane, flow = bench.plane, f"{bench.service('many')}/trivial"
    with plane.connect() as wire:
        spread = Spread.of(_one_by_one(plane, bench.some(300), lambda: plane.launch(wire, flow)))
    base = _bare_route_ms(bench.some(300))
    yield Row(
        name="accepted",
        measure="launch accepted, authenticated and committed, p50",
        value=spread.p50,
        unit="ms",
        bar=4,
        baseline=base.p50,
        against="bare litestar route",
        more={"p99": spread.p99},
    )


def _one_by_one(plane: Plane, count: int, launch: object) -> list[float]:
    """Time launches, each after the one before has ended."""
    samples = []
    for number in range(count + 20):
        took = timed_ms(launch)  # type: ignore[arg-type]
        plane.wait_idle(poll_s=0.002)
        if number >= 20:
            samples.append(took)
    return samples


def _bare_route_ms(count: int) -> Spread:
    with baselines.routes() as url, Wire(url, ANY_KEY) as wire:
        return Spread.of(samples_ms(count, lambda: wire.json("POST", "/flows/one/trivial", {})))


def first_event(bench: Bench) -> Iterator[Row]:
    """Launch and follow: until the first line, and until the first that the flow wrote."""
    plane, count = bench.plane, bench.some(200)
    flow = f"{bench.service('one')}/hello"
    lines, own = [], []
    with plane.connect() as wire, plane.connect() as follower:
        for number in range(count + 20):
            any_ms, own_ms = _first(plane, flow, wire=wire, follower=follower)
            if number >= 20:
                lines.append(any_ms)
                own.append(own_ms)
    by_flow, by_any = Spread.of(own), Spread.of(lines)
    yield Row(
        name="first",
        measure="launch to the flow's first own event at a follower, p50",
        value=by_flow.p50,
        unit="ms",
        bar=10,
        more={"p99": by_flow.p99, "first line of any kind p50": by_any.p50},
        **actor_call(bench),
    )


def _first(plane: Plane, flow: str, *, wire: Wire, follower: Wire) -> tuple[float, float]:
    begin = time.perf_counter()
    fid = plane.launch(wire, flow)
    first = own = 0.0
    for piece in follower.stream(f"/v1/executions/{fid}/events?follow=1"):
        now = (time.perf_counter() - begin) * 1e3
        first = first or now
        if not own and b'"kind":"result"' in piece:
            own = now
    return first, own


def finished(bench: Bench) -> Iterator[Row]:
    """Launch a trivial flow and follow it: until its final status."""
    plane = bench.plane
    spreads = {}
    for service in ("one", "many"):
        flow = f"{bench.service(service)}/trivial"
        with plane.connect() as wire, plane.connect() as follower:

            def run() -> None:
                fid = plane.launch(wire, flow)  # noqa: B023 - called in this very round
                for _ in follower.stream(f"/v1/executions/{fid}/events?follow=1"):
                    pass

            spreads[service] = Spread.of(samples_ms(bench.some(200), run))
    one, many = spreads["one"], spreads["many"]
    yield Row(
        name="finished",
        measure="launch to finished at a follower, trivial flow, p50",
        value=one.p50,
        unit="ms",
        bar=15,
        more={"p99": one.p99, "p50 at concurrency 100": many.p50},
        **actor_call(bench),
    )


def emit(bench: Bench) -> Iterator[Row]:
    """Events one at a time: from the flow's hand to a follower's; then the quiet after."""
    plane, count = bench.plane, bench.some(400)
    samples = []
    with plane.connect() as follower:
        fid = plane.launch(plane.wire, f"{bench.service('one')}/tick", n=count + 20)
        for piece in follower.stream(f"/v1/executions/{fid}/events?follow=1&kind=result"):
            now = time.time()
            for line in piece.splitlines():
                event = json.loads(line) if line else {}
                if event.get("kind") == "result":
                    samples.append((now - event["payload"]) * 1e3)
    spread = Spread.of(samples[20:])
    base = actor_call(bench)
    common = {"name": "emit", "unit": "ms"}
    yield Row(
        measure="emit to follower, one at a time, p50", value=spread.p50, bar=4, **common, **base
    )
    yield Row(measure="emit to follower, one at a time, p99", value=spread.p99, bar=15, **common)
    yield _quiet(bench)


def _quiet(bench: Bench) -> Row:
    """Return what the control plane uses while a follower waits for a flow that says nothing."""
    plane, seconds = bench.plane, 4.0 if bench.quick else 10.0
    wire = plane.connect()
    fid = plane.launch(plane.wire, f"{bench.service('one')}/sleep", seconds=seconds + 3)
    stream = wire.stream(f"/v1/executions/{fid}/events?follow=1")
    next(stream)
    time.sleep(1)
    used = cpu_percent(plane.pid(), seconds)
    wire.close()
    plane.wait_idle()
    return Row(
        name="emit",
        measure="control plane's CPU while a follower waits",
        value=used,
        unit="%",
        bar=2,
    )


def actor_call(bench: Bench) -> dict[str, Any]:
    """Return the baseline: one call of a bare Ray actor in this cluster, measured once."""
    if "call" not in bench.notes:
        bench.notes["call"] = baselines.run("call", bench.plane.address, bench.some(500))
    return {"baseline": bench.notes["call"]["p50"], "against": "bare Ray actor call"}
