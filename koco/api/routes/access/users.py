"""Users, who log in with a password. For admins; users may change their own password."""

from typing import Annotated, Any

from litestar import delete, get, patch, post, put
from msgspec import UNSET, Meta, Struct, UnsetType, to_builtins

from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Named, Person, Shape, Time, text
from koco.control.access import passwords
from koco.control.access.users import UserChanges
from koco.errors import ConflictError, NotAllowedError
from koco.store import model
from koco.store.model import Page

# The minimum is only documented here. The check elsewhere has a better message.
_Password = Annotated[
    str,
    Meta(
        max_length=passwords.LONGEST,
        extra_json_schema={"minLength": passwords.SHORTEST, "format": "password"},
        examples=["correct horse battery staple"],
    ),
]


class User(Shape):
    """A person who logs in with a password."""

    name: Person
    scopes: tuple[shapes.Scope, ...]
    flows: shapes.Flows
    all_executions: bool
    created: Time
    by: Person
    active: Annotated[bool, Meta(description="whether they may log in")]
    email: Annotated[str, text("ada@example.com", "empty if it is not known")]
    last_login: Time | None
    last_from: shapes.Address | None

    @classmethod
    def render(cls, user: model.User) -> "User":
        """Return a user as answers show them."""
        return cls.of(user, all_executions=user.sees_all)


class NewUser(Struct, forbid_unknown_fields=True):
    """The name and password of a user, and what they may do: see `NewKey`."""

    name: str
    password: _Password
    scopes: tuple[str, ...] = ("launch",)
    flows: tuple[str, ...] = ()
    all_executions: bool = False
    email: str = ""


class ChangedUser(Struct, forbid_unknown_fields=True):
    """Changes of a user. Absent members stay as they are."""

    #: Whether they may log in. If not, their sessions and streams end at once.
    active: bool | UnsetType = UNSET
    #: Empty to remove it.
    email: str | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType = UNSET
    flows: tuple[str, ...] | UnsetType = UNSET
    all_executions: bool | UnsetType = UNSET


class NewPassword(Struct, forbid_unknown_fields=True):
    """A new password. Callers without the scope `admin` need the old one."""

    password: _Password
    old: Annotated[str, Meta(max_length=passwords.LONGEST)] | None = None


@post(
    "/v1/users",
    guards=[requires("admin")],
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def create_user(request: Request, data: NewUser) -> User:
    """Create a user. Once there is one, users can log in."""
    audit.add(request, target=data.name, scopes=data.scopes)
    user = await request.parts.users.create(
        data.name,
        data.password,
        by=request.auth.name,
        scopes=data.scopes,
        flows=data.flows,
        sees_all=data.all_executions,
        email=data.email,
    )
    return User.render(user)


@get("/v1/users", guards=[requires("admin")])
async def list_users(request: Request, limit: int = 50, cursor: str | None = None) -> Page[User]:
    """List users by name: what each may do, and when and from where they last logged in."""
    list_query.check_limit(limit)
    page = await request.parts.store.users.page(limit=limit, cursor=cursor)
    return Page([User.render(user) for user in page.items], page.next)


@get("/v1/users/{name:str}", guards=[requires("admin")])
async def show_user(request: Request, name: str) -> User:
    """Show a user."""
    return User.render(await request.parts.store.users.get(name))


@patch("/v1/users/{name:str}", guards=[requires("admin")], errors=[ConflictError])
async def change_user(request: Request, name: str, data: ChangedUser) -> User:
    """Change a user: whether they may log in, their e-mail address, and their rights.

    The sessions of a user who is not active end at once, with their streams. If the rights of a
    user change, their streams end, and their sessions go on with the new rights.
    """
    audit.add(request, **_without_email(data))
    changes = UserChanges(
        active=data.active,
        email=data.email,
        scopes=data.scopes,
        flows=data.flows,
        sees_all=data.all_executions,
    )
    return User.render(await request.parts.users.change(name, changes, by=request.auth.name))


def _without_email(data: ChangedUser) -> dict[str, Any]:
    """Return the changes for the audit log, which nobody can remove an address from."""
    return {name: value for name, value in to_builtins(data).items() if name != "email"}


@delete("/v1/users/{name:str}", status_code=200, guards=[requires("admin")])
async def remove_user(request: Request, name: str) -> Named:
    """Remove a user; their sessions end at once. Executions keep the name."""
    await request.parts.users.remove(name)
    return Named(name)


@put("/v1/users/{name:str}/password", guards=[requires("read")])
async def set_password(request: Request, name: str, data: NewPassword) -> Named:
    """Give a user a new password; all their sessions end at once.

    Admins need not know the old one. Users can change only their own, and must know it.
    """
    users, caller = request.parts.users, request.auth
    if caller.may("admin"):
        await users.set_password(name, data.password)
        return Named(name)
    if caller.name != name or not caller.credential.startswith("session:"):
        raise NotAllowedError(
            f"{caller.name!r} may not change the password of {name!r}",
            hint="users change their own after logging in; an admin changes any",
        )
    if data.old is None:
        raise NotAllowedError("the old password is missing", hint="send it as `old`")
    await users.change_password(name, data.old, data.password, address=caller.address)
    return Named(name)


ROUTES = (create_user, list_users, show_user, change_user, remove_user, set_password)
