"""Flows called over agents' protocols: how much a call takes beyond the plain API's."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psutil

from tests.bench.measures import Bench
from tests.bench.meters import MB, Spread, timed_ms
from tests.bench.plane import Plane
from tests.bench.report import Row

STREAMS = 900

_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def calls(bench: Bench) -> Iterator[Row]:
    """Call the trivial flow over MCP and over the plain API, in turns, to its result."""
    plane, service = bench.plane, bench.service("many")
    with plane.connect() as wire:

        def plain() -> None:
            path, headers = f"/v1/flows/{service}/trivial", {"Prefer": "wait=30"}
            answer = json.loads(wire.request("POST", path, b"{}", headers=headers))
            assert answer["outcome"]["status"] == "finished", answer

        def mcp() -> None:
            message = _message("tools/call", name=f"{service}.trivial", arguments={})
            headers = {**_headers("tools/call"), "Mcp-Name": f"{service}.trivial"}
            content = json.dumps(message).encode()
            answer = json.loads(wire.request("POST", "/mcp", content, headers=headers))
            assert answer["result"]["isError"] is False, answer

        spreads = _in_turns([plain, mcp], bench.some(300))
    yield Row(
        name="mcp",
        measure="MCP tools/call of the trivial flow, to its result, p50",
        value=spreads[1].p50,
        unit="ms",
        bar=1.3,
        bar_on="ratio",
        baseline=spreads[0].p50,
        against="POST /v1/flows with Prefer: wait",
        more={"p99": spreads[1].p99, "plain p99": spreads[0].p99},
    )


def _in_turns(works: list[Callable[[], None]], count: int) -> list[Spread]:
    samples: list[list[float]] = [[] for _ in works]
    for number in range(count + 20):
        for at, work in enumerate(works):
            took = timed_ms(work)
            if number >= 20:
                samples[at].append(took)
    return [Spread.of(each) for each in samples]


def streams(bench: Bench) -> Iterator[Row]:
    """Open as many streams of MCP as one key may have, each of an execution that waits."""
    plane = bench.plane
    fids = [plane.launch(plane.wire, f"{bench.service('many')}/sleep", seconds=60)]
    used = asyncio.run(_listen(plane, fids[0], STREAMS))
    plane.wire.json("POST", f"/v1/executions/{fids[0]}/cancel", {})
    yield Row(
        name="mcp_streams",
        measure="memory of an open MCP stream",
        value=used / STREAMS,
        unit="MB",
        bar=0.2,
        more={"streams": STREAMS},
    )


async def _listen(plane: Plane, fid: str, count: int) -> float:
    """Open streams; return how much the control plane has grown (MB)."""
    rss = psutil.Process(plane.pid()).memory_info
    meta = {**_META, "io.modelcontextprotocol/clientCapabilities": _TASKS}
    message = _message("subscriptions/listen", notifications={"taskIds": [fid]})
    message["params"]["_meta"] = meta
    body = json.dumps(message).encode()
    url = urlsplit(plane.url)
    headers = _headers("subscriptions/listen") | {
        "Host": url.netloc,
        "Authorization": f"Bearer {plane.key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body
    links: list[socket.socket] = []
    loop, before = asyncio.get_running_loop(), float(rss().rss / MB)
    for _ in range(count):
        link = socket.create_connection((url.hostname or "", url.port or 80))
        link.setblocking(False)
        links.append(link)
        await loop.sock_sendall(link, request)
        answer = await loop.sock_recv(link, 4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer
    await asyncio.sleep(1.0)
    after = float(rss().rss / MB)
    for link in links:
        link.close()
    return after - before


_TASKS: dict[str, object] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


def _message(method: str, **params: object) -> dict[str, dict[str, object]]:
    about = {**params, "_meta": _META}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": about}  # type: ignore[dict-item]


def _headers(method: str) -> dict[str, str]:
    return {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        "Accept": "application/json, text/event-stream",
    }
