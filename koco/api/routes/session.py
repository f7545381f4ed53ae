"""Logging in with a name and a password, and out again. No user, no login."""

import time
from typing import Annotated, Any

from litestar import Request, Response, delete, post
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from msgspec import Meta, Struct

from koco.api.http import audit, auth, cookies, proxy
from koco.api.openapi import schemas
from koco.control.access import passwords
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import (
    ConflictError,
    MediaTypeError,
    NotFoundError,
    TooManyError,
    UnauthorizedError,
)
from koco.events import line

_TYPE = "application/json"


class Login(Struct, forbid_unknown_fields=True):
    """Who wants to log in, and whether a cookie shall keep the session's token."""

    name: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=passwords.LONGEST)]
    #: For browsers: then no script of a page ever has the token.
    cookie: bool = False


def _only_json(connection: auth.Connection, _: BaseRouteHandler) -> None:
    """Refuse what another site's page can send unasked: somebody would be logged in as another.

    Stricter than for other routes (`koco.api.middleware.validation`): a page can leave the type out
    as well.
    """
    found = connection.headers.get("content-type", "").partition(";")[0]
    if found.strip().lower() != _TYPE:
        raise MediaTypeError(f"a login is sent as {_TYPE}", hint=f"send `Content-Type: {_TYPE}`")


@post(
    "/v1/session",
    guards=[_only_json],
    answers={201: schemas.Session},
    errors=[NotFoundError, MediaTypeError, UnauthorizedError, TooManyError],
)
async def create_session(
    request: Request[Any, Any, State], data: Login
) -> Response[dict[str, Any]]:
    """Log in; the answer has the session's token, or its cookie where that is asked for.

    The token is shown as a key is. After failures the next try has to wait, longer each time.
    """
    parts: Parts = request.app.state.parts
    # Else it may be a password, typed in the wrong place.
    if await parts.store.users.find(data.name) is not None:
        audit.about(request, target=data.name)
    address = proxy.address(request.scope)
    token, session, user = await parts.sessions.begin(data.name, data.password, address=address)
    audit.about(request, who=user.name)
    answer = {
        "name": user.name,
        "scopes": user.scopes,
        "expires": line.timestamp(session.expires),
    }
    if not data.cookie:
        return Response({**answer, "token": token}, status_code=201)
    cookie = cookies.given(token, request.scope, max_age_s=round(session.expires - time.time()))
    return Response(answer, status_code=201, cookies=[cookie])


@delete(
    "/v1/session",
    status_code=200,
    guards=[auth.requires("read")],
    answers={200: schemas.Named},
    errors=[ConflictError],
)
async def end_session(request: Request[Any, Caller, State]) -> Response[dict[str, Any]]:
    """Log out: the session is good for nothing at once, and what is followed by it ends."""
    caller = request.auth
    if not caller.credential.startswith("session:"):
        raise ConflictError(
            f"{caller.name!r} has shown a key, which is no session",
            hint="an admin revokes it: `koco key revoke`",
        )
    parts: Parts = request.app.state.parts
    await parts.sessions.end(auth.shown(request))
    cookie = cookies.given("", request.scope, max_age_s=0)
    return Response({"name": caller.name}, cookies=[cookie])


ROUTES = (create_session, end_session)
