"""The session cookie of browsers: who may read it, and when it is trusted.

A browser sends the cookie with every request to this host, even one that another site's page
makes. So a request that changes something must come from a page of the control plane's own
(OWASP's fetch metadata and origin checks).
"""

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from koco import tokens
from koco.api.http import proxy
from koco.errors import NotAllowedError

#: The methods in use here that change nothing (RFC 9110, 9.2.1).
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_ALONE = "koco.cookie"
_PORTS = {"http": 80, "https": 443}

Connection = ASGIConnection[Any, Any, Any, Any]


def read_token(connection: Connection) -> str:
    """Return the session's token from a connection's cookie, or an empty string.

    If there is an `Authorization` header, the cookie is ignored.

    Raises:
        NotAllowedError: the request changes something and may come from another site.
    """
    if "authorization" in connection.headers:
        return ""
    scope: Any = connection.scope
    found: str = connection.cookies.get(_name(scope), "")
    if not found.startswith(tokens.SESSION):
        return ""  # keys are not accepted in cookies: a browser would keep them for years
    if scope["method"] not in SAFE and not is_same_origin(connection):
        raise NotAllowedError(
            "a cookie alone may not change anything: the request is from another site's page",
            hint="send the `Origin` of this control plane, or the token as `Authorization: Bearer`",
        )
    return found


def is_alone(connection: Connection) -> bool:
    """Return whether a caller is known by a cookie alone, which browsers send by themselves.

    Raises as `read_token` does.
    """
    scope: Any = connection.scope
    return bool(scope.get(_ALONE) or read_token(connection))


def note_alone(connection: Connection) -> None:
    """Note that a caller is known by another API's cookie alone."""
    scope: Any = connection.scope
    scope[_ALONE] = True


def make(value: str, scope: Any, *, max_age_s: int) -> Cookie:
    """Return the cookie that holds a token. An age of 0 removes it."""
    return Cookie(
        key=_name(scope),
        value=value,
        max_age=max_age_s,
        path="/",
        secure=proxy.is_secure(scope),
        httponly=True,
        samesite="strict",
    )


def _name(scope: Any) -> str:
    # With this prefix, browsers accept the cookie only from this host, over TLS and for all paths.
    # No page of a neighbouring host can set it.
    return "__Host-koco_session" if proxy.is_secure(scope) else "koco_session"


def is_same_origin(connection: Connection) -> bool:
    """Whether, according to the browser, the request comes from this control plane or an allowed
    origin.
    """
    if connection.headers.get("origin") in connection.app.state.parts.settings.cors_origins:
        return True  # no page sends `*` as its origin
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = _origin(connection.headers.get("origin", ""))
    scheme = "https" if proxy.is_secure(connection.scope) else "http"
    host = connection.headers.get("host", "")
    ours = (_origin(connection.app.state.parts.url), _origin(f"{scheme}://{host}"))
    return origin is not None and origin in ours


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a URL, or None if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None
