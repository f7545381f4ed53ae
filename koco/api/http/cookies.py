"""The cookie of a session, for browsers: who may read it, and when it is believed.

It is sent by a browser whoever has made the page that asks, so what changes anything must
come from a page of the control plane's own (OWASP's fetch metadata and origin checks).
"""

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from koco import tokens
from koco.api.http import proxy
from koco.errors import NotAllowedError

#: The methods that change nothing (RFC 9110, 9.2.1), of those that there are here.
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_PORTS = {"http": 80, "https": 443}

Connection = ASGIConnection[Any, Any, Any, Any]


def token(connection: Connection) -> str:
    """Return the session's token in a connection's cookie; nothing where there is none.

    A cookie is not looked at where there is an `Authorization`, whatever that says.

    Raises:
        NotAllowedError: it would change something, and another site may have asked for it.
    """
    if "authorization" in connection.headers:
        return ""
    scope: Any = connection.scope
    found: str = connection.cookies.get(_name(scope), "")
    if not found.startswith(tokens.SESSION):
        return ""  # a key in a cookie is none: it would be good for years, in a browser
    if scope["method"] not in SAFE and not _is_same_origin(connection):
        raise NotAllowedError(
            "a cookie is no proof of who asks for a change: the request is of no page from here",
            hint="send the `Origin` of this control plane, or the token as `Authorization: Bearer`",
        )
    return found


def given(value: str, scope: Any, *, max_age_s: int) -> Cookie:
    """Return the cookie that keeps a token; an age of 0 takes it away."""
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
    # With the prefix a browser takes it from this host alone, over TLS alone, for all of it:
    # no neighbour's page can put another there.
    return "__Host-koco_session" if proxy.is_secure(scope) else "koco_session"


def _is_same_origin(connection: Connection) -> bool:
    """Say whether a browser says that a page of this control plane's asks, or a named one's."""
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
    """Return scheme, host and port of a URL; None where it has no such."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None
