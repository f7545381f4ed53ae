"""Who is calling, and may they? Default deny: a route without a guard serves nobody."""

import hashlib
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from koco.control.parts import Parts
from koco.errors import NotAllowedError, UnauthorizedError
from koco.store.model import Key

#: What a key may be allowed to do; `admin` includes the others.
SCOPES = ("read", "launch", "deploy", "admin")

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
