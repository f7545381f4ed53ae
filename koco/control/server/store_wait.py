"""A start while the store is away: wait for it, and meanwhile say so to all who ask.

Keys cannot be checked without the store, so an answer has no details. The log has them.
"""

import asyncio
import json
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from koco.control.server import listener
from koco.control.start import Start
from koco.store.engine.protocol import Engine
from koco.store.errors import AwayError

log = logging.getLogger(__name__)

#: How long between two attempts to reach the store (seconds).
_PAUSE_S = 0.5
#: How long nobody is answered (seconds): commands wait for a control plane that restarts, and so
#: they do not see that a database is started again.
_SILENT_S = 10.0
#: The answer to every request meanwhile. Its form is that of every error: see `koco.api.http`.
_ANSWER = {
    "type": "urn:koco:error:store",
    "title": "The store is away",
    "status": 503,
    "detail": "the control plane has started, but its store does not answer: it waits for it",
    "code": "store",
    "hint": "does the database's server run? `koco up` on the head, or control.log in its data"
    " directory, says what is wrong",
}

#: What `/health` answers meanwhile: see `koco.control.health.doctor.Health`.
_HEALTH = {
    **{"status": "degraded", "store": "failed", "executions": {}, "late_ms": 0, "leads": False},
    **dict.fromkeys(("troubles", "nodes", "restarts", "waits_for")),
}


async def wait_for(
    engine: Engine,
    start: Start,
    places: Sequence[tuple[str, int]],
    *,
    silent_s: float = _SILENT_S,
) -> None:
    """Check a store that this koco can use. If it is away, wait until it is back.

    Raises:
        KocoError: it cannot be used, and waiting does not help; see `Engine.check`.
    """
    began_s, said = time.monotonic(), ""
    async with AsyncExitStack() as stack:
        while True:
            try:
                await engine.check()
                break
            except AwayError as exc:
                if str(exc) != said:
                    log.error("the store is away: %s", exc)
                    said = str(exc)
            await asyncio.sleep(_PAUSE_S)
            if silent_s <= time.monotonic() - began_s:
                await stack.enter_async_context(_answering(start, places))
                silent_s = math.inf  # only once
    if said:
        log.info("the store is back")


@asynccontextmanager
async def _answering(start: Start, places: Sequence[tuple[str, int]]) -> AsyncIterator[None]:
    """Answer all requests with the error while the block runs; then the ports are free again."""
    import uvicorn

    tls = {"ssl_certfile": start.tls_cert, "ssl_keyfile": start.tls_key}
    servers: list[uvicorn.Server] = []

    async def serve(place: tuple[str, int], **more: Any) -> None:
        bound: socket.socket = await listener.listen(*place)
        config = uvicorn.Config(
            _refuse,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
            **more,
        )
        servers.append(uvicorn.Server(config))
        await servers[-1].serve(sockets=[bound])

    serving = [
        asyncio.create_task(serve(place, **({} if number else tls)))
        for number, place in enumerate(places)
    ]
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        waiting = serving[len(servers) :]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request with the error: an ASGI application."""
    is_health = scope["path"] == "/health"
    kind = b"application/json" if is_health else b"application/problem+json"
    headers = [(b"content-type", kind), (b"retry-after", b"1"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    content = json.dumps(_HEALTH if is_health else _ANSWER).encode()
    await send({"type": "http.response.body", "body": content})
