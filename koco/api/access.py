"""Who is calling, and may they? Default deny: a route without a guard serves nobody.

A guard leaves the `Caller` in the request's `auth`; what a route finds, it finds by
that caller's sight.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from koco.control.caller import TOKEN_PREFIX, Caller
from koco.control.parts import Parts
from koco.errors import NotAllowedError, UnauthorizedError
from koco.store.model import Execution

#: What to tell who is not shown one.
ABOUT_TRACEBACKS = "keys with the scope `deploy` are shown the traceback"

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Any]


def requires(scope: str) -> Guard:
    """Return a guard that lets callers with a scope through, and tells the route who it is."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        caller = await _known(connection)
        if not caller.may(scope):
            raise NotAllowedError(
                f"the key {caller.name!r} has no scope {scope!r}",
                hint=f"it has: {', '.join(sorted(caller.scopes)) or 'none'}",
            )
        connection.scope["auth"] = caller

    return guard


def requires_files(scope: str) -> Guard:
    """Return a guard for routes of files: keys with a scope, and flows for their own execution."""
    by_key = requires(scope)

    async def guard(connection: Connection, route: BaseRouteHandler) -> None:
        token = _shown(connection)
        if not token.startswith(TOKEN_PREFIX):
            await by_key(connection, route)
            return
        parts: Parts = connection.app.state.parts
        caller = await parts.files.caller(token)
        if caller is None:
            raise UnauthorizedError("that token is of no execution that runs here")
        # By the whole fid only: `latest` and prefixes may mean another one.
        if connection.path_params.get("fid", caller.fid) != caller.fid:
            raise NotAllowedError(f"the token is good for the files of {caller.fid} only")
        connection.scope["auth"] = _placed(caller, connection)

    return guard


def is_owner(connection: Connection) -> bool:
    """Say whether a caller may deploy, and so is told what services' authors are."""
    caller = connection.scope.get("auth")
    return isinstance(caller, Caller) and caller.may("deploy")


async def execution(request: Request[Any, Caller, State], fid: str) -> Execution:
    """Return an execution that the caller may see, by fid, unique prefix or `latest`.

    Raises as `Store.execution` does; what the caller may not see does not exist.
    """
    found: Execution = await request.app.state.parts.store.execution(fid, request.auth.sight)
    return found


def require_flow(caller: Caller, flow: str) -> None:
    """Refuse a flow that is none of the caller's."""
    if not caller.reaches(flow):
        raise NotAllowedError(
            f"the key {caller.name!r} is not good for the flow {flow!r}",
            hint=f"it is for: {', '.join(caller.flows)}",
        )


def require_service(caller: Caller, service: str) -> None:
    """Refuse a service that has, or may have, flows that are none of the caller's."""
    if not caller.reaches_all_of(service):
        raise NotAllowedError(
            f"the key {caller.name!r} is not good for all of the service {service!r}",
            hint=f"it is for: {', '.join(caller.flows)}",
        )


async def _known(connection: Connection) -> Caller:
    """Return who a connection's key or session is of."""
    secret = _shown(connection)
    if not secret:
        raise UnauthorizedError(
            "no key was sent", hint="send `Authorization: Bearer koco_…`, as the CLI's context does"
        )
    parts: Parts = connection.app.state.parts
    digest = hashlib.sha256(secret.encode()).digest()
    key = await parts.store.key(digest)
    # Looked up by its digest: how long that takes tells nothing of the key.
    if key is None or not hmac.compare_digest(digest, key.digest):
        raise UnauthorizedError(
            "the key is not known here",
            hint="is it another control plane's? `koco up` on its machine mends a local context",
        )
    caller = Caller(
        name=key.name,
        scopes=frozenset(key.scopes),
        flows=key.flows,
        sees_all=key.sees_all,
        credential=f"key:{key.name}",
        expires=key.expires,
    )
    return _placed(caller, connection)


def _shown(connection: Connection) -> str:
    """Return the secret that a connection shows; nothing where it shows none."""
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _placed(caller: Caller, connection: Connection) -> Caller:
    client = connection.client
    return msgspec.structs.replace(caller, address=client.host if client else "")
