"""Many events: how fast they become durable, and how fast a follower has them."""

import datetime as dt
import json
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.measures import Bench
from tests.bench.plane import Plane
from tests.bench.report import Row

BAR = 50_000


@dataclass(slots=True)
class Stream:
    """What a follower saw of one execution. Times are seconds since the epoch."""

    begin: float = 0.0
    #: When the flow wrote its first event, and when the final status was committed.
    wrote: float = 0.0
    durable: float = 0.0
    #: When the follower had the last event.
    arrived: float = 0.0
    lines: int = 0
    last_seq: int = 0


def _follow(plane: Plane, fid: str, into: Stream) -> None:
    with plane.connect() as wire:
        into.begin = time.time()
        last = b""
        for piece in wire.stream(f"/v1/executions/{fid}/events?follow=1"):
            into.lines += piece.count(b"\n")
            last = piece
            if not into.wrote and (at := piece.find(b'"kind":"result"')) >= 0:
                into.wrote = _time_of(piece[piece.rfind(b"\n", 0, at) + 1 : piece.find(b"\n", at)])
        into.arrived = time.time()
    final = last.splitlines()[-1]
    into.durable, into.last_seq = _time_of(final), json.loads(final)["seq"]
    if into.lines != into.last_seq:
        raise RuntimeError(f"{fid}: {into.lines} lines, but the last one is {into.last_seq}")


def _time_of(line: bytes) -> float:
    return dt.datetime.fromisoformat(json.loads(line)["ts"]).timestamp()


def _burst(plane: Plane, service: str, *, flows: int, each: int) -> tuple[float, float]:
    """Return events per second until durable, and until all followers had them."""
    streams = [Stream() for _ in range(flows)]
    threads = []
    for stream in streams:
        fid = plane.launch(plane.wire, f"{service}/burst", n=each)
        threads.append(threading.Thread(target=_follow, args=(plane, fid, stream)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    begin = min(stream.wrote for stream in streams)
    count = flows * each
    return (
        count / (max(stream.durable for stream in streams) - begin),
        count / (max(stream.arrived for stream in streams) - begin),
    )


def _rows(bench: Bench, service: str, what: str, *, name: str, flows: int) -> Iterator[Row]:
    each = bench.some(500_000) // flows
    bench.service(service)
    _burst(bench.plane, service, flows=flows, each=each // 4)
    rounds = [_burst(bench.plane, service, flows=flows, each=each) for _ in range(3)]
    for column, to in enumerate(("durable", "followers")):
        rates = [figures[column] for figures in rounds]
        yield Row(
            name=name,
            measure=f"{what}, sustained to {to}",
            value=statistics.median(rates),
            unit="/s",
            bar=BAR,
            at_least=True,
            more={"worst": min(rates), "best": max(rates)},
        )


def one_flow(bench: Bench) -> Iterator[Row]:
    """One flow writes as fast as it can, with one follower."""
    yield from _rows(bench, "one", "one flow's events", name="events", flows=1)


def ten_flows(bench: Bench) -> Iterator[Row]:
    """Ten flows in one runner do, each with a follower."""
    yield from _rows(bench, "many", "ten flows' events", name="events-10", flows=10)
