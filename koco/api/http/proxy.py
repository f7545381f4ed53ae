"""Handle proxies between client and API, and add the security headers for browsers."""

from collections.abc import Mapping
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from koco.api.http import cors
from koco.control.settings import Settings

#: Headers of every answer, unless it sets them itself. They say that it is not a page and must not
#: be framed.
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


def address(scope: Mapping[str, Any]) -> str:
    """Return the client's address, as reported by the proxy if it is trusted."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_secure(scope: Mapping[str, Any]) -> bool:
    """Whether the client uses TLS, with this server or with a trusted proxy."""
    return bool(scope.get("scheme") == "https")


def trust(app: Any, settings: Settings) -> Any:
    """Wrap an ASGI application so that it knows its clients behind proxies.

    Changes of the settings take effect while it runs.
    """
    return _TrustedProxies(app, settings)


def dress(app: Any, settings: Settings) -> Any:
    """Wrap an ASGI application so that its answers suit browsers. The settings may change."""
    return cors.wrap(_with_headers(app, settings), settings)


class _TrustedProxies:
    """Take the client's address and scheme from trusted proxies, and from no other sender."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._trusted: tuple[str, ...] = ()
        self._handler = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._settings.trusted_proxies != self._trusted:
            self._trust(self._settings.trusted_proxies)
        await self._handler(scope, receive, send)

    def _trust(self, proxies: tuple[str, ...]) -> None:
        self._trusted = proxies
        self._handler = ProxyHeadersMiddleware(self._app, list(proxies)) if proxies else self._app


def _with_headers(app: Any, settings: Settings) -> Any:
    """Wrap an application so that its answers carry the security headers."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = list(message["headers"])
                present = {name.lower() for name, _ in headers}
                headers += [pair for pair in _HEADERS.items() if pair[0] not in present]
                if is_secure(scope) and (seconds := settings.hsts_s):
                    headers.append((b"strict-transport-security", b"max-age=%d" % seconds))
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve
