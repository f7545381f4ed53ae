"""Keys, for admins; and the caller's own data, for everybody."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from litestar import Response, delete, get, post
from msgspec import UNSET, Meta, Struct, UnsetType

from koco import tokens
from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Person, Shape, Time
from koco.control.access import keys
from koco.errors import ConflictError
from koco.events import line
from koco.store import model
from koco.store.model import Page

#: Caches must not keep secrets.
_PRIVATE = {"Cache-Control": "no-store"}


class Key(Shape):
    """A key, without its secret."""

    name: Person
    status: Literal["active", "expired", "rotating"]
    scopes: tuple[shapes.Scope, ...]
    flows: shapes.Flows
    all_executions: bool
    created: Time
    by: Person
    expires: Time | None
    former_until: Annotated[Time | None, Meta(description="until when its former secret is valid")]
    last_used: Annotated[Time | None, Meta(description="to the minute")]
    last_from: shapes.Address | None

    @classmethod
    def render(cls, key: model.Key, **others: Any) -> Self:
        """Return a key as answers show it."""
        return cls.of(
            key,
            status=keys.status(key),
            all_executions=key.sees_all,
            expires=line.timestamp_if_any(key.expires),
            former_until=line.timestamp_if_any(key.former_until),
            **others,
        )


class KeyWithSecret(Key):
    """A key and its secret, which is shown only this once."""

    secret: Annotated[str, Meta(pattern=f"^{tokens.PATTERN}$", examples=["koco_" + "x" * 43])]


class Me(Shape):
    """The caller: its name, its kind of credential, and the rights and expiry of that."""

    name: Person
    by: Literal["key", "session"]
    scopes: list[shapes.Scope]
    flows: shapes.Flows
    all_executions: bool
    expires: Time | None


class NewKey(Struct, forbid_unknown_fields=True):
    """The name of a key, and what it may do."""

    name: str
    scopes: tuple[str, ...] = ("launch",)
    #: Patterns of flows, `service/flow` with `*` for any text. Empty means all.
    flows: tuple[str, ...] = ()
    #: Whether its holder sees all users' executions, not only their own.
    all_executions: bool = False
    #: How long it is valid (seconds). If absent, for ever.
    expires_s: float | None = None


class Rotation(Struct, forbid_unknown_fields=True):
    """How long the old secret stays valid, and how long the new one is (seconds)."""

    grace_s: float = keys.GRACE_S
    #: If absent, the key expires when it did before.
    expires_s: float | UnsetType = UNSET


@post(
    "/v1/keys",
    guards=[requires("admin")],
    answers={201: Answer(media={JSON: KeyWithSecret}, headers=["Location"])},
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def create_key(request: Request, data: NewKey) -> Response[KeyWithSecret]:
    """Create a key; its secret is in this answer, and never again in any other."""
    audit.add(request, target=data.name, scopes=data.scopes)
    key, secret = await request.parts.keys.create(
        data.name,
        by=request.auth.name,
        scopes=data.scopes,
        flows=data.flows,
        sees_all=data.all_executions,
        expires_s=data.expires_s,
    )
    headers = {**_PRIVATE, "Location": f"/v1/keys/{quote(key.name)}"}
    return Response(KeyWithSecret.render(key, secret=secret), status_code=201, headers=headers)


@get("/v1/keys", guards=[requires("admin")])
async def list_keys(request: Request, limit: int = 50, cursor: str | None = None) -> Page[Key]:
    """List keys by name: what each may do, and when and from where it was last used."""
    list_query.check_limit(limit)
    page = await request.parts.store.keys.page(limit=limit, cursor=cursor)
    return Page([Key.render(key) for key in page.items], page.next)


@get("/v1/keys/{name:str}", guards=[requires("admin")])
async def show_key(request: Request, name: str) -> Key:
    """Show a key."""
    return Key.render(await request.parts.store.keys.get(name))


@post(
    "/v1/keys/{name:str}/rotate",
    status_code=200,
    guards=[requires("admin")],
    answers={200: KeyWithSecret},
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def rotate_key(request: Request, name: str, data: Rotation) -> Response[KeyWithSecret]:
    """Give a key a new secret, which is only in this answer; the old one is valid for a while.

    A key has at most one old secret. If it is rotated again, the one before that ends.
    """
    expires_s = None if data.expires_s is UNSET else data.expires_s
    key, secret = await request.parts.keys.rotate(name, grace_s=data.grace_s, expires_s=expires_s)
    return Response(KeyWithSecret.render(key, secret=secret), headers=_PRIVATE)


@delete(
    "/v1/keys/{name:str}",
    status_code=200,
    guards=[requires("admin")],
    errors=[ConflictError],
)
async def revoke_key(request: Request, name: str) -> Key:
    """Revoke a key: it is invalid at once, and its open streams end."""
    return Key.render(await request.parts.keys.revoke(name))


@get("/v1/me", guards=[requires("read")])
async def show_me(request: Request) -> Me:
    """Show who the caller is, by which key or session, what that may do, and until when."""
    caller = request.auth
    return Me.of(
        caller,
        by=caller.credential.partition(":")[0],
        scopes=sorted(caller.scopes),
        all_executions=caller.sees_all or "admin" in caller.scopes,
        expires=line.timestamp_if_any(caller.expires),
    )


ROUTES = (create_key, list_keys, show_key, rotate_key, revoke_key, show_me)
