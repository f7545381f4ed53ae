"""Kodosumi's header and cookie, each with a key or a session of koco in it.

A browser sends the cookie with every request to this host, so a request that changes something is
refused if a browser says that another site's page made it. Scripts send neither `Origin` nor
`Sec-Fetch-Site`. No page of another site can leave both out of a POST, PUT or DELETE, but out of a
GET it can, so no GET by cookie launches anything (`Caller.by_cookie`). The worst that such a GET
can do is to log its user out.
"""

from typing import Any

from litestar.datastructures import Cookie

from koco import tokens
from koco.api.http import auth, cookies, proxy
from koco.errors import NotAllowedError

#: The header with a key or a session's token, and the cookie with a session's token.
HEADER, COOKIE = "KODOSUMI_API_KEY", "kodosumi_jwt"

_BROWSERS = ("origin", "sec-fetch-site", "referer")


def requires(scope: str) -> auth.Guard:
    """Return a guard that admits callers with a scope, by header or cookie.

    `Authorization: Bearer` is accepted, too.
    """
    return auth.requires(scope, read=read_secret)


def read_secret(connection: auth.Connection) -> str:
    """Return the secret in a connection's headers or cookie, or an empty string.

    Raises:
        NotAllowedError: only the cookie has it, and the request may come from another site's page.
    """
    if shown := connection.headers.get(HEADER, "").strip():
        return shown
    if "authorization" in connection.headers:
        return auth.read_secret(connection)
    found = connection.cookies.get(COOKIE, "")
    if not found.startswith(tokens.SESSION):
        return ""  # keys are not accepted in cookies: a browser would keep them for years
    scope: Any = connection.scope
    # A GET of `/logout` changes something, too.
    if scope["method"] not in cookies.SAFE or scope["path"].rstrip("/") == "/logout":
        require_own_page(connection)
    cookies.note_alone(connection)
    return found


def require_own_page(connection: auth.Connection) -> None:
    """Refuse a request that a browser made for a page of another site.

    Raises:
        NotAllowedError: it did.
    """
    is_browsers = any(name in connection.headers for name in _BROWSERS)
    if is_browsers and not cookies.is_same_origin(connection):
        raise NotAllowedError(
            "the request is from another site's page",
            hint=f"send the `Origin` of this control plane, or the token as `{HEADER}`",
        )


def make_cookie(token: str, scope: Any, *, max_age_s: int) -> Cookie:
    """Return the cookie that holds a session's token. An age of 0 removes it."""
    return Cookie(
        key=COOKIE,
        value=token,
        max_age=max_age_s,
        path="/",
        secure=proxy.is_secure(scope),
        httponly=True,
        samesite="strict",
    )
