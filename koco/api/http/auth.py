"""Authenticate callers and check their scopes. Default deny: a route without a guard is refused.

A guard puts the `Caller` into the request's `auth`. Routes look things up with that caller's
sight.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from koco import tokens
from koco.api.http import cookies, proxy
from koco.api.http.request import Request
from koco.api.http.request_id import request_id
from koco.control.access import login_throttle
from koco.control.access.caller import NOBODY, Caller
from koco.control.container import Parts
from koco.control.services.catalog import Entry
from koco.errors import NotAllowedError, NotFoundError, UnauthorizedError
from koco.manifest.rules import owner_name, owner_of
from koco.store.model import Execution, Release

#: The hint for callers who may not see tracebacks.
ABOUT_TRACEBACKS = "keys with the scope `deploy` are shown the traceback"

#: Names of the routes that take no key. `options_handler` is litestar's own.
PUBLIC = frozenset(
    {
        *("create_session", "describe", "fetch_bundle", "health", "options_handler"),
        *("describe_resource", "show_reader", "show_values"),
    }
)

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Any]


def requires(scope: str, *, read: Callable[[Connection], str] | None = None) -> Guard:
    """Return a guard that admits callers with a scope and passes the caller to the route.

    `read` returns the secret in a connection; by default it is `read_secret`.
    """

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        caller = await _authenticate(connection, (read or read_secret)(connection))
        # Set before the check, because the audit log names refused callers, too.
        connection.scope["auth"] = caller
        require_scope(caller, scope)

    return _with_scope(guard, scope)


def requires_files(scope: str) -> Guard:
    """Return a guard for file routes: keys with a scope, and flows for their own execution."""
    by_key = requires(scope)

    async def guard(connection: Connection, route: BaseRouteHandler) -> None:
        token = read_secret(connection)
        if not token.startswith(tokens.FLOW):
            await by_key(connection, route)
            return
        parts: Parts = connection.app.state.parts
        caller = await parts.files.caller(token)
        if caller is None:
            raise UnauthorizedError("that token belongs to no execution that runs here")
        connection.scope["auth"] = _admit(caller, connection)
        # Only the whole fid counts: `latest` and prefixes may mean another execution.
        if connection.path_params.get("fid", caller.fid) != caller.fid:
            raise NotAllowedError(f"the token is valid only for the files of {caller.fid}")

    return _with_scope(guard, scope)


def requires_unless(
    open_to: Callable[[Connection], Awaitable[Caller | None]],
    scope: str,
    *,
    read: Callable[[Connection], str] | None = None,
) -> Guard:
    """Return a guard that admits everyone if the route is open, whatever they present.

    It is open if `open_to` returns the caller as whom they act: `NOBODY`, for example. Otherwise
    the guard admits keys with a scope, as `requires` does.
    """
    by_key = requires(scope, read=read)

    async def guard(connection: Connection, route: BaseRouteHandler) -> None:
        caller = await open_to(connection)
        if caller is None:
            await by_key(connection, route)
        else:
            connection.scope["auth"] = _admit_nobody(connection, caller)

    guard.__dict__["is_open"] = True
    return _with_scope(guard, scope)


def _admit_nobody(connection: Connection, as_caller: Caller) -> Caller:
    """Return the caller of a request without a key: nobody, or one as which it may act.

    It is counted for its address only: all of them act as one, and any could use up its share.

    Raises:
        TooManyError: too many requests from this address.
    """
    nobody = _count_nobody(connection)
    if as_caller is NOBODY:
        return nobody
    return msgspec.structs.replace(as_caller, address=nobody.address, request=nobody.request)


def _count_nobody(connection: Connection) -> Caller:
    """Count a request without a key. Each address is limited like a key, as is a home network."""
    credential = f"address:{login_throttle.network(proxy.address(connection.scope))}"
    return _admit(msgspec.structs.replace(NOBODY, credential=credential), connection)


def authenticate_release(connection: Connection) -> tuple[Caller, str, int]:
    """Return the caller with a release's token, and the release: its service and number.

    Raises:
        UnauthorizedError: the request has no such token.
        TooManyError: too many requests, or too many wrong tokens.
    """
    parts: Parts = connection.app.state.parts
    try:
        service, number = parts.release_tokens.release(read_secret(connection))
    except UnauthorizedError:
        parts.attempts.check(address=proxy.address(connection.scope))
        raise
    name = f"{service}/{number}"
    return _admit(Caller(name=name, credential=f"release:{name}"), connection), service, number


def check_guards(app: Litestar, public: frozenset[str] | None = None) -> None:
    """Refuse to serve an application if one of its routes has no guard and is not public."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            is_guarded = any(hasattr(guard, "scope") for guard in handler.resolve_guards())
            if not (is_guarded or handler.fn.__name__ in (public or PUBLIC)):
                what = f"{route.path}: the route {handler.fn.__name__} has no guard of this module"
                raise RuntimeError(f"{what} and is not in `PUBLIC`")


def is_owner(connection: Connection) -> bool:
    """Whether a caller may deploy, and so sees messages meant for a service's authors."""
    caller = connection.scope.get("auth")
    return isinstance(caller, Caller) and caller.may("deploy")


def is_admin(connection: Connection) -> bool:
    """Whether a caller is an admin, and so may know where things are."""
    caller = connection.scope.get("auth")
    return isinstance(caller, Caller) and caller.may("admin")


async def find_execution(request: Request, fid: str) -> Execution:
    """Return an execution that the caller may see, by fid, unique prefix or `latest`.

    `latest` is always the caller's own last execution, even if the caller sees other users'.
    Otherwise a launch by someone else could change which execution is cancelled or answered.

    Raises as `Executions.get` does. Executions that the caller may not see count as missing.
    """
    sight = request.auth.sight
    if fid == "latest":
        sight = msgspec.structs.replace(sight, user=request.auth.name)
    found = await request.parts.store.executions.get(fid, sight)
    # For the audit log, because `latest` means another execution tomorrow. A new dict, because
    # litestar keeps its own.
    request.scope["path_params"] = {**request.path_params, "fid": found.fid}
    return found


async def require_owner(request: Request, execution: Execution, what: str) -> None:
    """Refuse callers who have not launched an execution, and are no admins.

    `what` says what they may not do.
    """
    caller = request.auth
    if execution.user != caller.name and not caller.may("admin"):
        raise NotAllowedError(
            f"{caller.name!r} may not {what} of {execution.fid}",
            hint=f"{execution.user} and admins may: they have the results unmasked",
        )


async def require_origin(request: Request, execution: Execution, what: str) -> None:
    """Do the same, also for the executions from which it has results or hidden inputs."""
    each = execution
    await require_owner(request, each, what)
    if request.auth.may("admin"):
        return
    while former := each.resume_of or (each.retry_of if each.hidden else None):
        try:
            each = await request.parts.store.executions.get(former)
        except NotFoundError:
            # It was deleted, and whose it was is not known.
            if not each.hidden:
                return
            raise NotAllowedError(
                f"{request.auth.name!r} may not {what} of {execution.fid}, which has hidden inputs"
                f" of {former}, and that was deleted",
                hint="admins may",
            ) from None
        await require_owner(request, each, what)


def find_flow(request: Request, name: str) -> Entry:
    """Return a flow that the caller may see, by full name, or by a short one that is unique.

    Raises as `Catalog.find` does, and refuses the full name of a flow that is not the caller's.
    """
    caller = request.auth
    if "/" in name:
        require_flow(caller, name)
    return request.parts.catalog.find(name, sees=caller.reaches)


def require_scope(caller: Caller, scope: str) -> None:
    """Refuse a caller without a scope."""
    if not caller.may(scope):
        raise NotAllowedError(
            f"{caller.name!r} has no scope {scope!r}",
            hint=f"it has: {', '.join(sorted(caller.scopes)) or 'none'}",
        )


def sees(caller: Caller, release: Release) -> bool:
    """Whether any release of a service has a flow that the caller may use."""
    names = (f"{release.service}/{each.name}" for each in release.known_flows)
    return caller.reaches_all_of(release.service) or any(map(caller.reaches, names))


def require_flow(caller: Caller, flow: str) -> None:
    """Refuse a flow that the caller may not use."""
    if not caller.reaches(flow):
        raise _refusal(caller, f"may not use the flow {flow!r}")


def require_unlimited(caller: Caller, what: str) -> None:
    """Refuse callers who are limited to some flows, because the request concerns all services."""
    if caller.flows:
        raise _refusal(caller, f"is limited to flows, and {what}")


def require_service(caller: Caller, service: str) -> None:
    """Refuse a service that has, or may have, flows that the caller may not use."""
    if not caller.reaches_all_of(service):
        raise _refusal(caller, f"may not use all of the service {service!r}")


def require_own(caller: Caller, service: str) -> None:
    """Refuse to change a service that is another person's own (`hello~ada`), except to admins."""
    owner = owner_of(service)
    if owner and owner != owner_name(caller.name) and not caller.may("admin"):
        raise NotAllowedError(
            f"{service!r} is {owner}'s own service, and you are {caller.name!r}",
            hint=f"yours would be called {service.partition('~')[0]}~{owner_name(caller.name)}",
        )


def _refusal(caller: Caller, what: str) -> NotAllowedError:
    """Return the error for a caller who asks for more than their flows."""
    hint = f"it is for: {', '.join(caller.flows)}"
    return NotAllowedError(f"{caller.name!r} {what}", hint=hint)


def _with_scope(guard: Guard, scope: str) -> Guard:
    """Set a guard's scope, for `koco.api.openapi.generator`."""
    guard.__dict__["scope"] = scope
    return guard


async def _authenticate(connection: Connection, secret: str) -> Caller:
    """Return the caller that a connection's secret belongs to: a key or a session."""
    if not secret:
        _count_nobody(connection)
        raise UnauthorizedError(
            "no key was sent", hint="send `Authorization: Bearer koco_…`, as the CLI's context does"
        )
    parts: Parts = connection.app.state.parts
    try:
        if secret.startswith(tokens.SESSION):
            return _admit(await parts.sessions.caller(secret), connection)
        caller = _admit(await parts.keys.caller(secret), connection)
    except UnauthorizedError:
        # Checked only now, so that an attacker at the same address cannot block callers with a
        # valid key.
        parts.attempts.check(address=proxy.address(connection.scope))
        raise
    parts.keys.used(caller)
    return caller


def read_secret(connection: Connection) -> str:
    """Return the secret in a connection's headers or cookie, or an empty string."""
    # Not by litestar's `headers`, which takes a tenth of what a small request takes in all.
    headers = connection.scope["headers"]
    given = next((value for name, value in headers if name == b"authorization"), None)
    if given is None:
        return cookies.read_token(connection)
    scheme, _, secret = given.decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _admit(caller: Caller, connection: Connection) -> Caller:
    """Return a caller with its address, and count the request."""
    connection.app.state.parts.rates.take(caller)
    address = proxy.address(connection.scope)
    return msgspec.structs.replace(caller, address=address, request=request_id(connection.scope))
