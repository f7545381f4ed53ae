"""The API's listeners: bound early, served once the API is ready, closed at once."""

import asyncio
import functools
import logging
import socket
from typing import Any

from koco.control.settings import Settings
from koco.store.store import Store

log = logging.getLogger(__name__)

#: Pause before another try if the port is still held (seconds).
_RETRY_S = 0.05
#: How many connections may wait until they are accepted.
_BACKLOG = 2048
#: How long current requests may take to end (seconds).
_GRACE_S = 3
#: How long an idle connection is kept (seconds). Proxies usually keep theirs for 60 s; it must be
#: longer, because a request that is sent while the connection is being closed is lost.
_IDLE_S = 75
#: How much of an answer the kernel buffers beyond the bytes on their way (bytes), because a client
#: that stops reading would get megabytes of it.
_UNSENT_BYTES = 128 * 1024


class Listening:
    """Listeners at addresses (host, port), which are bound as soon as they are free."""

    def __init__(self, *places: tuple[str, int]) -> None:
        self._places = places
        self._bound = [asyncio.create_task(listen(*place)) for place in places]
        self._serving: list[asyncio.Task[None]] = []
        self._servers: list[Any] = []

    async def bound(self, timeout_s: float) -> bool:
        """Wait until all are bound; return whether they are."""
        _, pending = await asyncio.wait(self._bound, timeout=timeout_s)
        return not pending

    def serve(
        self, app: Any, settings: Settings, *, store: Store | None = None, **tls: str | None
    ) -> None:
        """Serve an application at the next of the addresses."""
        bound = self._bound[len(self._serving)]
        serving = self._answer(configured(app, settings, store=store, **tls), bound)
        self._serving.append(asyncio.create_task(serving))

    async def close(self) -> None:
        """Stop listening; return when the current requests have ended."""
        for server in self._servers:
            server.should_exit = True
        for number, bound in enumerate(self._bound):
            if not bound.cancel() and number >= len(self._serving):
                bound.result().close()
        await asyncio.gather(*self._serving, *self._bound, return_exceptions=True)

    async def _answer(self, config: Any, bound: "asyncio.Task[socket.socket]") -> None:
        try:
            await self._served(config, await bound)
        except Exception:
            log.exception("the API cannot be served; can its certificate still be read?")
            raise

    async def _served(self, config: Any, listener: socket.socket) -> None:
        import uvicorn

        server = uvicorn.Server(config)
        self._servers.append(server)
        await server.serve(sockets=[listener])


def configured(app: Any, settings: Settings, *, store: Store | None = None, **more: Any) -> Any:
    """Return uvicorn's configuration for an application; limits follow later changes of `settings`.

    Requests take turns by their holder, which is looked up in `store`.
    """
    import uvicorn

    from koco.control.fair_turns import Turns
    from koco.control.server.http_protocol import Protocol
    from koco.control.server.request_owner import Holders

    return uvicorn.Config(
        app,
        http=functools.partial(Protocol, settings, Turns(), Holders(store)),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        # uvicorn's own trusts every client on this machine: see `koco.api.http.proxy`.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_IDLE_S,
        **more,
    )


async def listen(host: str, port: int) -> socket.socket:
    """Bind a port, however long it takes, because the former process may still hold it."""
    is_logged = False
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named because asyncio turns off Nagle's algorithm only then. With the
        # algorithm, every answer on a kept connection waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
            return listener
        except OSError as exc:
            listener.close()
            if not is_logged:
                log.warning("cannot listen on %s:%s yet: %s", host, port, exc)
            is_logged = True
            await asyncio.sleep(_RETRY_S)
