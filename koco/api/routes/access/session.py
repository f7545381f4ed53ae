"""Sessions: log in with a name and a password, and log out."""

import time
from typing import Annotated

from litestar import Response, delete, post
from litestar.handlers.base import BaseRouteHandler
from msgspec import UNSET, Meta, Struct, UnsetType

from koco.api.http import audit, auth, cookies, proxy
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON
from koco.api.openapi.shapes import Named, Shape
from koco.control.access import passwords
from koco.errors import (
    ConflictError,
    MediaTypeError,
    NotFoundError,
    TooManyError,
    UnauthorizedError,
)
from koco.events import line
from koco.store import model


class Session(Shape):
    """The user who has logged in, and the session: its scopes, its expiry, its token."""

    name: shapes.Person
    scopes: tuple[shapes.Scope, ...]
    expires: shapes.Time
    #: Absent if a cookie has it.
    token: (
        Annotated[str, Meta(pattern="^kocos_[A-Za-z0-9_-]{43}$", examples=["kocos_" + "x" * 43])]
        | UnsetType
    ) = UNSET


class Login(Struct, forbid_unknown_fields=True):
    """The user who logs in, and whether the session's token goes into a cookie."""

    name: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=passwords.LONGEST)]
    #: For browsers: then a page's scripts cannot read the token.
    cookie: bool = False


def _only_json(connection: auth.Connection, _: BaseRouteHandler) -> None:
    """Refuse requests that another site's page can send: it could log its visitor in as another.

    Stricter than for other routes (`koco.api.middleware.validation`), because a page can also omit
    the type.
    """
    found = connection.headers.get("content-type", "").partition(";")[0]
    if found.strip().lower() != JSON:
        raise MediaTypeError(f"a login is sent as {JSON}", hint=f"send `Content-Type: {JSON}`")


@post(
    "/v1/session",
    guards=[_only_json],
    errors=[NotFoundError, MediaTypeError, UnauthorizedError, TooManyError],
)
async def create_session(request: Request, data: Login) -> Response[Session]:
    """Log in; the answer has the session's token, or a cookie with it if the request asks for one.

    The token is sent like a key. After failures the next try has to wait, longer each time.
    """
    token, session, user = await log_in(request, data.name, data.password)
    expires = line.timestamp(session.expires)
    if not data.cookie:
        return Response(Session(user.name, user.scopes, expires, token), status_code=201)
    cookie = cookies.make(token, request.scope, max_age_s=round(session.expires - time.time()))
    answer = Session(user.name, user.scopes, expires)
    return Response(answer, status_code=201, cookies=[cookie])


async def log_in(
    request: Request, name: str, password: str
) -> tuple[str, model.Session, model.User]:
    """Begin a session of a user; return its token, the session and the user.

    Raises as `Sessions.begin` does.
    """
    parts = request.parts
    # An unknown name may be a password, typed in the wrong place.
    if await parts.store.users.find(name) is not None:
        audit.add(request, target=name)
    address = proxy.address(request.scope)
    token, session, user = await parts.sessions.begin(name, password, address=address)
    audit.add(request, who=user.name)
    return token, session, user


@delete(
    "/v1/session",
    status_code=200,
    guards=[auth.requires("read")],
    errors=[ConflictError],
)
async def end_session(request: Request) -> Response[Named]:
    """Log out: the session is invalid at once, and its open streams end."""
    caller = request.auth
    if not caller.credential.startswith("session:"):
        raise ConflictError(
            f"{caller.name!r} used a key, not a session",
            hint="an admin revokes it: `koco key revoke`",
        )
    await request.parts.sessions.end(auth.read_secret(request))
    cookie = cookies.make("", request.scope, max_age_s=0)
    return Response(Named(caller.name), cookies=[cookie])


ROUTES = (create_session, end_session)
