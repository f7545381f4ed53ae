"""Requests on several connections at once: how many a second, and how long one in a hundred takes.

The client is one asyncio process that parses next to nothing. It has one of the machine's two
cores to itself, and the control plane's process the other, as the bare routes have.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from tests.bench import baselines
from tests.bench.measures import Bench
from tests.bench.meters import Spread, cpu_s
from tests.bench.report import Row
from tests.bench.wire import ANY_KEY

#: Connections that ask at once.
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked again and again: as bytes that are sent as they are."""

    url: str
    key: str
    method: str
    path: str
    body: bytes = b""

    @property
    def head(self) -> bytes:
        """The request as it goes over the wire."""
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {urlsplit(self.url).netloc}",
            f"Authorization: Bearer {self.key}",
            f"Content-Length: {len(self.body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def requests(bench: Bench) -> Iterator[Row]:
    """Ask for each of what is asked most, and a bare route for the same with the same client."""
    plane, seconds = bench.plane, 2.0 if bench.quick else 6.0
    flow = f"{bench.service('many')}/trivial"
    url, key = plane.url, plane.key
    asked = {
        "launch": Asked(url, key, "POST", f"/v1/flows/{flow}", b"{}"),
        "status": Asked(url, key, "GET", "/v1/status"),
        "list of 50": Asked(url, key, "GET", "/v1/executions?limit=50"),
        "one execution": Asked(url, key, "GET", "/v1/executions/latest"),
        "health": Asked(url, key, "GET", "/health"),
    }
    rates, cpu_us = {}, {}
    control = psutil.Process(plane.pid())
    for what, each in asked.items():
        asyncio.run(_many(each, 0.3))
        plane.wait_idle()
        before = cpu_s(control)
        rates[what] = asyncio.run(_rate(each, seconds))
        plane.wait_idle()
        # Hardly depends on what else the machine does, unlike the rate.
        cpu_us[what] = (cpu_s(control) - before) / rates[what][1].count * 1e6
    with baselines.routes() as bare:
        asyncio.run(_many(Asked(bare, ANY_KEY, "GET", "/health"), 0.3))
        post = asyncio.run(_rate(Asked(bare, ANY_KEY, "POST", f"/flows/{flow}", b"{}"), seconds))
        get = asyncio.run(_rate(Asked(bare, ANY_KEY, "GET", "/health"), seconds))
    for what, (rate, spread) in rates.items():
        base, base_spread = post if what == "launch" else get
        yield Row(
            name="requests",
            measure=f"{what}: requests a second, authenticated, {_CONNECTIONS} connections",
            value=rate,
            unit="/s",
            at_least=True,
            baseline=base,
            against="bare litestar route",
            more={
                "control plane's CPU, µs each": cpu_us[what],
                "p50 ms": spread.p50,
                "p99 ms": spread.p99,
                "bare p99 ms": base_spread.p99,
            },
        )


async def _rate(asked: Asked, seconds: float) -> tuple[float, Spread]:
    """Return how many requests a second were answered, and how long they took (ms)."""
    begin = time.perf_counter()
    samples = await _many(asked, seconds)
    return len(samples) / (time.perf_counter() - begin), Spread.of(samples)


async def _many(asked: Asked, seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    found = await asyncio.gather(*(_one_by_one(asked, until) for _ in range(_CONNECTIONS)))
    return [sample for samples in found for sample in samples]


async def _one_by_one(asked: Asked, until: float) -> list[float]:
    """Ask on one connection until a time; return how long each took (ms)."""
    where = urlsplit(asked.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head, samples = asked.head, []
    try:
        while (begin := time.perf_counter()) < until:
            writer.write(head)
            told = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(told))
            samples.append((time.perf_counter() - begin) * 1e3)
            if not told.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
                raise RuntimeError(f"{asked.method} {asked.path}: {told[:200]!r}")
    finally:
        writer.close()
    return samples


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without a length: {head[:200]!r}")
