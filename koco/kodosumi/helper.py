"""Small functions that services written for Kodosumi import."""

import time
from typing import TYPE_CHECKING, Any

from koco.events import line
from koco.kodosumi.config import Settings
from koco.kodosumi.payloads import wrapped

if TYPE_CHECKING:
    import httpx


def now() -> float:
    """Return the time, in seconds since the epoch."""
    return time.time()


def serialize(data: Any) -> str:
    """Return a value as JSON text in Kodosumi's shape: an object with its class's name.

    A text is `{"str": …}`, a list `{"__list__": […]}`, a value without fields `{"TypeError": …}`.
    """
    return line.encode_payload(wrapped(data)).decode()


def ray_init(settings: Any = None, *, ignore_reinit_error: bool = True) -> None:
    """Connect to Ray unless this process is connected, as each of koco's is."""
    import ray

    if not ray.is_initialized():
        address = (settings or Settings()).RAY_SERVER
        ray.init(address=address, ignore_reinit_error=ignore_reinit_error)


def ray_shutdown() -> None:
    """Do nothing: a runner needs its connection to Ray, and Ray closes others by itself."""


class HTTPXClient:
    """An HTTP client with Kodosumi's timeout that follows redirects, for `async with`."""

    def __init__(self, **options: Any) -> None:
        """Take further options of `httpx.AsyncClient`."""
        self._options = options

    async def __aenter__(self) -> "httpx.AsyncClient":
        import httpx

        timeout_s = Settings().PROXY_TIMEOUT
        options = {"timeout": timeout_s, "follow_redirects": True, **self._options}
        self.client = httpx.AsyncClient(**options)
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
