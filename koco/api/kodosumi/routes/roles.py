"""Users, which Kodosumi calls roles: `/role`. An operator there is an admin here."""

from typing import Annotated, Any

import msgspec
from litestar import delete, get, post, put

from koco.api.http import audit, json_body
from koco.api.http.request import Request
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes.identity import role_id
from koco.control.access import passwords
from koco.control.access.users import UserChanges
from koco.errors import ConflictError, NotFoundError
from koco.store.model import User

#: The scopes of operators, and those of others by default.
_OPERATOR, _OTHER = ("admin",), ("launch",)
_PAGE = 1000

_Name = Annotated[str, msgspec.Meta(max_length=64)]
_Password = Annotated[str, msgspec.Meta(max_length=passwords.LONGEST)]


class Role(msgspec.Struct):
    """A user."""

    id: str
    name: str
    email: str
    active: bool
    operator: bool

    @classmethod
    def render(cls, user: User) -> "Role":
        """Return a user as answers show it."""
        is_operator = "admin" in user.scopes
        return cls(role_id(user.name), user.name, user.email, user.active, is_operator)


class _New(msgspec.Struct):
    """The user to create."""

    name: _Name
    password: _Password
    email: str = ""
    operator: bool = False


class _Changes(msgspec.Struct):
    """Changes of a user. Null and absent members stay as they are."""

    name: _Name | None = None
    email: str | None = None
    active: bool | None = None
    password: _Password | None = None
    operator: bool | None = None


@post("/role", guards=[requires("admin")])
async def create_user(request: Request) -> Role:
    """Create a user."""
    given = await json_body.read(request, _New)
    scopes = _OPERATOR if given.operator else _OTHER
    audit.add(request, target=given.name, scopes=scopes)
    user = await request.parts.users.create(
        given.name, given.password, by=request.auth.name, scopes=scopes, email=given.email
    )
    return Role.render(user)


@get("/role", guards=[requires("admin")])
async def list_users(request: Request) -> list[Role]:
    """List all users by name."""
    return [Role.render(each) for each in await _all(request)]


@get("/role/profile", guards=[requires("read")])
async def show_me(request: Request) -> Role:
    """Show the caller. A key has no e-mail address."""
    caller = request.auth
    if (user := await request.parts.store.users.find(caller.name)) is not None:
        return Role.render(user)
    is_operator = caller.may("admin")
    return Role(role_id(caller.name), caller.name, "", active=True, operator=is_operator)


@get("/role/{name:str}", guards=[requires("admin")])
async def show_user(request: Request, name: str) -> Role:
    """Show a user, by name or id."""
    return Role.render(await _find(request, name))


@put("/role/{name:str}", guards=[requires("admin")])
async def change_user(request: Request, name: str) -> Role:
    """Change a user, by name or id. A user cannot get another name."""
    given = await json_body.read(request, _Changes)
    user = await _find(request, name)
    if given.name not in (None, user.name):
        raise ConflictError(
            f"the user {user.name!r} cannot get another name, because executions have it",
            hint="create another user and remove this one",
        )
    changes: dict[str, Any] = {}
    if given.active is not None:
        changes["active"] = given.active
    if given.email is not None:
        changes["email"] = given.email
    if given.operator is not None and given.operator is not ("admin" in user.scopes):
        changes["scopes"] = _OPERATOR if given.operator else _OTHER
    noted = {key: value for key, value in changes.items() if key != "email"}
    audit.add(request, target=user.name, **noted, password=given.password is not None)
    if changes:
        made = UserChanges(**changes)
        user = await request.parts.users.change(user.name, made, by=request.auth.name)
    if given.password is not None:
        await request.parts.users.set_password(user.name, given.password)
    return Role.render(user)


@delete("/role/{name:str}", status_code=204, guards=[requires("admin")])
async def remove_user(request: Request, name: str) -> None:
    """Remove a user, by name or id."""
    user = await _find(request, name)
    audit.add(request, target=user.name)
    await request.parts.users.remove(user.name)


async def _all(request: Request) -> list[User]:
    found: list[User] = []
    cursor = None
    while True:
        page = await request.parts.store.users.page(limit=_PAGE, cursor=cursor)
        found += page.items
        if (cursor := page.next) is None:
            return found


async def _find(request: Request, name: str) -> User:
    """Return a user by name or id.

    Raises:
        NotFoundError: there is none.
    """
    if (user := await request.parts.store.users.find(name)) is not None:
        return user
    for each in await _all(request):
        if role_id(each.name) == name.lower():
            return each
    raise NotFoundError(f"role {name[:80]} not found", hint="GET /role lists them")


ROUTES = (change_user, create_user, list_users, remove_user, show_me, show_user)
