"""Pages of other origins (CORS). None may read answers, unless the setting names its origin.

litestar's and Starlette's middleware read their origins once, at the start. Here they are a
setting that may change. The rules: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection

from koco.control.settings import Settings
from koco.errors import NotAllowedError

#: Headers that pages may send beyond the safelisted ones, and headers of answers that they may
#: read.
_SENT = b"authorization, content-type, idempotency-key, if-none-match, last-event-id, prefer, range"
_SENT += b", upload-length, upload-offset, webhook, webhook-on, webhook-secret, x-request-id"
_READ = b"content-range, etag, location, retry-after, upload-complete, upload-offset"
_READ += b", x-koco-fid, x-request-id"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
#: How long a browser caches the answer to a preflight (seconds). A change takes this long to reach
#: it.
_REMEMBERED_S = b"600"

_LOCAL = ("localhost", "127.0.0.1", "::1")

Headers = list[tuple[bytes, bytes]]


def refuse_others(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Refuse pages of other sites, unless the setting names their origin.

    For requests that a page could make by itself, because they take no key. Programs send no
    `Origin`. A page may have the name of this host by DNS rebinding, so its own `Host` proves
    nothing.

    Raises:
        NotAllowedError: it is such a page.
    """
    origin = connection.headers.get("origin")
    parts = connection.app.state.parts
    allowed = parts.settings.cors_origins
    if origin is None or origin in allowed or "*" in allowed:
        return
    if not _is_own(origin, url=parts.url, host=connection.headers.get("host", "")):
        raise NotAllowedError(
            f"pages of {origin[:200]!r} may not ask here",
            hint="an admin allows them: `koco up --set cors_origins=…`",
        )


def _is_own(origin: str, *, url: str, host: str) -> bool:
    """Whether an origin is the control plane's, or both are on the reader's own machine."""
    try:
        found, asked = urlsplit(origin), urlsplit(f"//{host}")
    except ValueError:
        return False
    is_local = found.hostname in _LOCAL and asked.hostname in _LOCAL
    return is_local or found[:2] == urlsplit(url)[:2]


def wrap(app: Any, settings: Settings) -> Any:
    """Wrap an ASGI application so that pages of the named origins may read its answers."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        origins = settings.cors_origins
        if not origins or scope["type"] != "http":
            await app(scope, receive, send)
            return
        asked = {name: value for name, value in scope["headers"] if name in _ASKED}
        allowed = _headers_for(asked.get(b"origin"), origins)
        if scope["method"] == "OPTIONS" and _ASKS_FIRST in asked and allowed:
            headers = [*allowed, *_preflight(settings)]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *(allowed or [_VARIES])]
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve


_ASKS_FIRST = b"access-control-request-method"
_ASKED = (b"origin", _ASKS_FIRST)
#: The answer depends on the origin, and caches on the way have to know.
_VARIES = (b"vary", b"Origin")
#: The header of Kodosumi's clients, if its API is served.
_KODOSUMIS = b", kodosumi_api_key"


def _preflight(settings: Settings) -> Headers:
    """Return the headers that limit the requests of a page."""
    sent = _SENT + _KODOSUMIS if settings.kodosumi_api else _SENT
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", sent),
        (b"access-control-max-age", _REMEMBERED_S),
    ]


def _headers_for(origin: bytes | None, origins: tuple[str, ...]) -> Headers:
    """Return the CORS headers for an origin, or nothing if it may not read the answer."""
    if origin is None:
        return []
    if origin.decode("latin-1") in origins:
        # Cookies are allowed only for a named origin, never for `*`.
        more = [(b"access-control-allow-credentials", b"true"), _VARIES]
    elif "*" in origins:
        origin, more = b"*", []
    else:
        return []
    exposed = (b"access-control-expose-headers", _READ)
    return [(b"access-control-allow-origin", origin), *more, exposed]
