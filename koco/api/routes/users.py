"""Users, who log in with a password; for admins, but for changing one's own."""

from typing import Annotated, Any

from litestar import Request, delete, get, post, put
from litestar.datastructures import State
from msgspec import Meta, Struct

from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.middleware import idempotency
from koco.api.openapi import schemas
from koco.control.access import passwords
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import ConflictError, NotAllowedError
from koco.store.model import User

# The least is told here and checked elsewhere, with better words.
_Password = Annotated[
    str,
    Meta(
        max_length=passwords.LONGEST,
        extra_json_schema={"minLength": passwords.SHORTEST, "format": "password"},
        examples=["correct horse battery staple"],
    ),
]


class NewUser(Struct, forbid_unknown_fields=True):
    """What a user shall be called, and what they may do; as for keys."""

    name: str
    password: _Password
    scopes: tuple[str, ...] = ("launch",)
    flows: tuple[str, ...] = ()
    all_executions: bool = False


class NewPassword(Struct, forbid_unknown_fields=True):
    """What a password shall be; whoever is no admin needs the old one."""

    password: _Password
    old: Annotated[str, Meta(max_length=passwords.LONGEST)] | None = None


@post(
    "/v1/users",
    guards=[requires("admin")],
    answers={201: schemas.User},
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def create_user(request: Request[Any, Caller, State], data: NewUser) -> dict[str, Any]:
    """Make a user. From the first one on, there are logins."""
    parts: Parts = request.app.state.parts
    audit.about(request, target=data.name, scopes=data.scopes)
    user = await parts.users.create(
        data.name,
        data.password,
        by=request.auth.name,
        scopes=data.scopes,
        flows=data.flows,
        sees_all=data.all_executions,
    )
    return _told(user)


@get("/v1/users", guards=[requires("admin")], answers={200: schemas.Page[schemas.User]})
async def list_users(
    request: Request[Any, Caller, State], limit: int = 50, cursor: str | None = None
) -> dict[str, Any]:
    """List users by name: what each may do, and when and from where they last logged in."""
    list_query.check_limit(limit)
    parts: Parts = request.app.state.parts
    page = await parts.store.users.page(limit=limit, cursor=cursor)
    return {"items": [_told(user) for user in page.items], "next": page.next}


@delete(
    "/v1/users/{name:str}",
    status_code=200,
    guards=[requires("admin")],
    answers={200: schemas.Named},
)
async def remove_user(request: Request[Any, Caller, State], name: str) -> dict[str, Any]:
    """Remove a user; their sessions end at once. Executions keep the name."""
    parts: Parts = request.app.state.parts
    await parts.users.remove(name)
    return {"name": name}


@put(
    "/v1/users/{name:str}/password",
    guards=[requires("read")],
    answers={200: schemas.Named},
)
async def set_password(
    request: Request[Any, Caller, State], name: str, data: NewPassword
) -> dict[str, Any]:
    """Give a user another password; all their sessions end at once.

    Admins need not know the old one. Users change their own only, and must.
    """
    parts: Parts = request.app.state.parts
    caller = request.auth
    if caller.may("admin"):
        await parts.users.set_password(name, data.password)
        return {"name": name}
    if caller.name != name or not caller.credential.startswith("session:"):
        raise NotAllowedError(
            f"{caller.name!r} may not change the password of {name!r}",
            hint="users change their own, having logged in; an admin changes any",
        )
    if data.old is None:
        raise NotAllowedError("the old password is missing", hint="send it as `old`")
    await parts.users.change_password(name, data.old, data.password, address=caller.address)
    return {"name": name}


def _told(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "scopes": user.scopes,
        "flows": user.flows,
        "all_executions": user.sees_all,
        "created": user.created,
        "by": user.by,
        "last_login": user.last_login,
        "last_from": user.last_from,
    }


ROUTES = (create_user, list_users, remove_user, set_password)
