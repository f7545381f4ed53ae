"""The control plane killed in the middle: what is lost, and how soon it is back."""

import json
import statistics
import threading
import time
from collections.abc import Iterator

import psutil

from tests.bench.measures import Bench
from tests.bench.plane import Plane
from tests.bench.report import Row

_EVENTS = 2_000
_PAUSE_S = 0.001
#: How long a killed control plane is waited for, six times its bar (seconds).
_PATIENCE_S = 30.0


def control_plane(bench: Bench) -> Iterator[Row]:
    """Kill it while a flow writes and a follower follows, a few times."""
    bench.service("one")
    rounds = [_kill_once(bench.plane) for _ in range(1 if bench.quick else 3)]
    name = "kill"
    yield Row(
        name=name,
        measure=f"control plane killed -9 during {_EVENTS} events: lost or doubled",
        value=sum(wrong for wrong, _, _ in rounds),
        unit="",
        bar=0,
        more={"kills": len(rounds)},
    )
    yield Row(
        name=name,
        measure="  until the API answers again",
        value=statistics.median(healed for _, healed, _ in rounds),
        unit="s",
        bar=5,
        more={
            "worst": max(healed for _, healed, _ in rounds),
            "next event at the follower": statistics.median(seen for _, _, seen in rounds),
        },
    )


def _kill_once(plane: Plane) -> tuple[int, float, float]:
    """Return how many events were lost or doubled, and the seconds until things went on."""
    fid = plane.launch(plane.wire, "one/tick", n=_EVENTS, pause=_PAUSE_S)
    victim = psutil.Process(plane.pid())
    times: dict[str, float] = {}

    def kill() -> None:
        time.sleep(1.0)
        victim.kill()
        times["killed"] = time.perf_counter()
        until_healthy(plane)
        times["healed"] = time.perf_counter()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    seqs = []
    for seq, _, at in _follow(plane, fid):
        seqs.append(seq)
        if "killed" in times and "seen" not in times:
            times["seen"] = at
    killer.join()
    plane.__dict__.pop("wire", None)  # its connection died with the process
    # meta, inputs, queued, starting, running; the events; final, finished
    expected = list(range(1, _EVENTS + 8))
    wrong = len(set(expected) ^ set(seqs)) + len(seqs) - len(set(seqs))
    return wrong, times["healed"] - times["killed"], times["seen"] - times["killed"]


def until_healthy(plane: Plane) -> None:
    """Wait until the control plane answers again."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with plane.connect() as wire:
                wire.request("GET", "/health")
                return
        except OSError:
            time.sleep(0.01)
    raise TimeoutError(f"the control plane did not come back in {_PATIENCE_S:g} s")


def _follow(plane: Plane, fid: str) -> Iterator[tuple[int, str, float]]:
    """Yield `(seq, kind, time)` of each event; reconnect as `koco logs -f` does."""
    since = 0
    deadline = time.monotonic() + 4 * _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with plane.connect() as wire:
                rest = b""
                for piece in wire.stream(f"/v1/executions/{fid}/events?follow=1&since={since}"):
                    at = time.perf_counter()
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if not line:
                            continue
                        event = json.loads(line)
                        since = event["seq"]
                        yield since, event["kind"], at
                return  # the stream ends on the final status only
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"execution {fid} did not end")
