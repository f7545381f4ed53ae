"""Who is calling, and may they? Default deny: a route without a guard serves nobody."""

import hashlib
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from koco.control.files import TOKEN_PREFIX, Caller
from koco.control.parts import Parts
from koco.errors import NotAllowedError, UnauthorizedError
from koco.store.model import Key

#: What a key may be allowed to do; `admin` includes the others.
SCOPES = ("read", "launch", "deploy", "admin")

#: What to tell who is not shown one.
ABOUT_TRACEBACKS = "keys with the scope `deploy` are shown the traceback"

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Any]


def requires(scope: str) -> Guard:
    """Return a guard that lets keys with a scope through, and names the caller in the scope."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        parts: Parts = connection.app.state.parts
        key = await _known(parts, connection.headers.get("authorization", ""))
        if scope not in key.scopes and "admin" not in key.scopes:
            raise NotAllowedError(
                f"the key {key.name!r} has no scope {scope!r}",
                hint=f"it has: {', '.join(key.scopes) or 'none'}",
            )
        connection.scope["user"] = key.name
        connection.scope["scopes"] = key.scopes  # type: ignore[typeddict-unknown-key]

    return guard


def is_owner(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Say whether a caller may deploy, and so is told what services' authors are."""
    scopes: Any = connection.scope.get("scopes", ())
    return not {"deploy", "admin"}.isdisjoint(scopes)


def requires_files(scope: str) -> Guard:
    """Return a guard for routes of files: keys with a scope, and flows for their own execution."""
    by_key = requires(scope)

    async def guard(
        connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler
    ) -> None:
        token = connection.headers.get("authorization", "").partition(" ")[2].strip()
        if not token.startswith(TOKEN_PREFIX):
            await by_key(connection, route)
            connection.scope["auth"] = Caller(name=connection.scope["user"])
            return
        parts: Parts = connection.app.state.parts
        caller = await parts.files.caller(token)
        if caller is None:
            raise UnauthorizedError("that token is of no execution that runs here")
        # By the whole fid only: `latest` and prefixes may mean another one.
        if connection.path_params.get("fid", caller.fid) != caller.fid:
            raise NotAllowedError(f"the token is good for the files of {caller.fid} only")
        connection.scope["auth"] = caller

    return guard


async def _known(parts: Parts, header: str) -> Key:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise UnauthorizedError(
            "no key was sent", hint="send `Authorization: Bearer koco_…`, as the CLI's context does"
        )
    key = await parts.store.key(hashlib.sha256(secret.strip().encode()).digest())
    if key is None:
        raise UnauthorizedError(
            "the key is not known here",
            hint="is it another control plane's? `koco up` on its machine mends a local context",
        )
    return key
