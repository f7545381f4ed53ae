"""Many followers: of one execution, of as many executions, and such as do not read.

One process with raw sockets reads for all of them, and looks at nothing but the time that
an event carries: what is measured is the control plane.
"""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil

from tests.bench.measures import Bench
from tests.bench.meters import MB, Spread
from tests.bench.plane import Plane
from tests.bench.report import Row

FOLLOWERS = 500

_WRITTEN = re.compile(rb'"kind":"result","payload":([0-9.]+)}')
_END = re.compile(rb'"payload":{"status":"(?:finished|error|cancelled)"}')


class _Follower(asyncio.Protocol):
    """One connection that follows one execution."""

    def __init__(self, request: bytes, *, reads: bool = True) -> None:
        self._request = request
        self._reads = reads
        #: When each event was written and when it arrived (seconds since the epoch).
        self.times: list[tuple[float, float]] = []
        self.begun = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.begun.done():
            assert data.startswith(b"HTTP/1.1 200"), data[:200]
            self.begun.set_result(None)
            if not self._reads:
                self.transport.pause_reading()
        self.times += [(float(text), now) for text in _WRITTEN.findall(data)]
        if _END.search(data):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _followers(plane: Plane, fids: list[str], *, reads: bool = True) -> list[_Follower]:
    """Return followers of executions, one each, that have begun to be answered."""
    url = urlsplit(plane.url)
    followers = []
    for fid in fids:
        request = f"GET /v1/executions/{fid}/events?follow=1 HTTP/1.1\r\nHost: {url.netloc}\r\n"
        request += f"Authorization: Bearer {plane.key}\r\n\r\n"
        own = socket.socket()
        own.setblocking(False)
        if not reads:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(own, (url.hostname, url.port))
        _, follower = await loop.create_connection(
            lambda request=request: _Follower(request.encode(), reads=reads),  # type: ignore[misc]
            sock=own,
        )
        followers.append(follower)
    await asyncio.gather(*[each.begun for each in followers])
    return followers


def _rss_mb(plane: Plane) -> float:
    return float(psutil.Process(plane.pid()).memory_info().rss / MB)


async def _follow(plane: Plane, fids: list[str]) -> tuple[list[float], float]:
    """Follow to the end; return all delays, and how much larger the control plane became."""
    before = _rss_mb(plane)
    followers = await _followers(plane, fids)
    begun, during = time.time(), _rss_mb(plane)
    await asyncio.gather(*[each.ended for each in followers])
    for each in followers:
        each.transport.abort()
    # What was written before all were there is no measure of how fast they are told.
    times = [pair for each in followers for pair in each.times if pair[0] > begun]
    return [(arrived - written) * 1e3 for written, arrived in times], during - before


def of_one(bench: Bench) -> Iterator[Row]:
    """Five hundred follow one execution, which writes five events a second."""
    plane = bench.plane
    fid = plane.launch(plane.wire, f"{bench.service('one')}/tick", n=bench.some(75), pause=0.2)
    delays_ms, more_mb = asyncio.run(_follow(plane, [fid] * FOLLOWERS))
    yield from _rows("followers", f"{FOLLOWERS} followers of one execution", delays_ms, more_mb)


def of_each(bench: Bench) -> Iterator[Row]:
    """As many follow an execution each, which all write an event every two seconds."""
    plane, service = bench.plane, bench.service("awaiting")
    n = bench.some(20)
    fids = [plane.launch(plane.wire, f"{service}/tick", n=n, pause=2.0) for _ in range(FOLLOWERS)]
    delays_ms, more_mb = asyncio.run(_follow(plane, fids))
    plane.wait_idle()
    what = f"{FOLLOWERS} followers of as many executions"
    yield from _rows("followers-each", what, delays_ms, more_mb)


def _rows(name: str, what: str, delays_ms: list[float], more_mb: float) -> Iterator[Row]:
    spread = Spread.of(delays_ms)
    yield Row(
        name=name,
        measure=f"{what}: emit to each of them, p50",
        value=spread.p50,
        unit="ms",
        more={"p99": spread.p99, "worst": max(delays_ms), "events": len(delays_ms)},
    )
    yield Row(
        name=name,
        measure="  the control plane's memory for each",
        value=more_mb / FOLLOWERS,
        unit="MB",
    )


def that_stop(bench: Bench) -> Iterator[Row]:
    """As many begin to read 100 MB of events, and stop."""
    plane = bench.plane
    for what, size in (("100 MB of small events", 100), ("two events of 50 MB", 50_000_000)):
        count = bench.some(100_000_000) // size if size < 1000 else 2
        flow = f"{bench.service('one')}/bulk"
        fid = plane.launch(plane.wire, flow, n=count, size=size)
        plane.wait_idle()
        before = _rss_mb(plane)
        after = asyncio.run(_stalled(plane, fid))
        yield Row(
            name="followers-stop",
            measure=f"{FOLLOWERS} followers that stop reading {what}: memory of each",
            value=(after - before) / FOLLOWERS,
            unit="MB",
            bar=1,
            more={"RSS before": before, "RSS then": after},
        )


async def _stalled(plane: Plane, fid: str) -> float:
    followers = await _followers(plane, [fid] * FOLLOWERS, reads=False)
    await asyncio.sleep(3)
    found = _rss_mb(plane)
    for each in followers:
        each.transport.abort()
    await asyncio.sleep(0.5)
    return found
