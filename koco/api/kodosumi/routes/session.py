"""Logging in and out: `/login`, `/api/login`, `/logout`."""

import time
from typing import Annotated

import msgspec
from litestar import Response, get, post, route
from litestar.enums import HttpMethod
from litestar.handlers.base import BaseRouteHandler

from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.kodosumi import bodies, credentials
from koco.api.kodosumi.shapes.identity import role_id
from koco.api.routes.access.session import log_in
from koco.control.access import passwords
from koco.errors import UsageError


class _Login(msgspec.Struct):
    """The user who logs in, and the page of this host to go to afterwards."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    password: Annotated[str, msgspec.Meta(max_length=passwords.LONGEST)]
    redirect: str | None = None


class _LoggedIn(msgspec.Struct, rename={"key": credentials.HEADER}):
    """The user who has logged in, and the session's token."""

    name: str
    id: str
    key: str


def _refuse_other_sites(connection: auth.Connection, _: BaseRouteHandler) -> None:
    """Refuse other sites' pages: they could log their visitor in as another."""
    credentials.require_own_page(connection)


@get("/login")
async def refuse_login() -> None:
    """Refuse a login by URL.

    Raises:
        UsageError: always. A password in a URL stays in the logs of proxies and in histories.
    """
    raise UsageError(
        "a name and a password are not accepted in a URL, where logs would keep them",
        hint=f"POST them to /login as a form ({bodies.FORM}) or to /api/login as JSON",
    )


@post("/login", status_code=200, guards=[_refuse_other_sites])
async def log_in_by_form(request: Request) -> Response[_LoggedIn | None]:
    """Log in with a form."""
    if bodies.media_type(request) != bodies.FORM:
        raise _wrong_type(bodies.FORM)
    return await _log_in(request, await bodies.read_form(request))


@post("/api/login", status_code=200, guards=[_refuse_other_sites])
async def log_in_by_json(request: Request) -> Response[_LoggedIn | None]:
    """Log in with a JSON body."""
    if not await bodies.is_json(request):
        raise _wrong_type(bodies.JSON)
    return await _log_in(request, await bodies.read_object(request))


@route(
    "/logout",
    http_method=[HttpMethod.GET, HttpMethod.POST],
    status_code=200,
    guards=[credentials.requires("read")],
)
async def end_session(request: Request) -> Response[str]:
    """Log out: the session is invalid at once. A key stays valid; only the cookie goes."""
    if request.auth.credential.startswith("session:"):
        await request.parts.sessions.end(credentials.read_secret(request))
    gone = credentials.make_cookie("", request.scope, max_age_s=0)
    where = _own_path(request.query_params.get("redirect"))
    if where is None:
        return Response("", cookies=[gone])
    return Response("", status_code=302, headers={"Location": where}, cookies=[gone])


async def _log_in(request: Request, given: object) -> Response[_LoggedIn | None]:
    try:
        login = msgspec.convert(given, _Login)
    except msgspec.ValidationError as exc:
        raise UsageError(f"the body: {exc}", hint="it needs `name` and `password`") from exc
    where = _own_path(login.redirect)
    token, session, user = await log_in(request, login.name, login.password)
    age_s = round(session.expires - time.time())
    cookie = credentials.make_cookie(token, request.scope, max_age_s=age_s)
    if where is not None:
        headers = {"Location": where}
        return Response(None, status_code=302, headers=headers, cookies=[cookie])
    return Response(_LoggedIn(user.name, role_id(user.name), token), cookies=[cookie])


def _wrong_type(wanted: str) -> UsageError:
    """Return the error for other types of bodies, which pages of other sites may send unasked."""
    return UsageError(f"a login here is sent as {wanted}", hint=f"`Content-Type: {wanted}`")


def _own_path(where: str | None) -> str | None:
    """Return a path of this host to go to, or None if none is asked for.

    Raises:
        UsageError: it may lead to another host.
    """
    if not where:
        return None
    is_path = where.startswith("/") and where.isascii() and where.isprintable()
    if not is_path or where.startswith("//") or "\\" in where:
        raise UsageError("`redirect` is not a path of this host", hint="such as /flow")
    return where


ROUTES = (end_session, log_in_by_form, log_in_by_json, refuse_login)
