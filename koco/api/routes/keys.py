"""Keys, for admins; and for everybody: who am I?"""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from msgspec import UNSET, Struct, UnsetType

from koco.api.http import audit, list_query
from koco.api.http.auth import requires
from koco.api.middleware import idempotency
from koco.api.openapi import schemas
from koco.api.openapi.annotations import JSON, Answer
from koco.control.access import keys
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.errors import ConflictError
from koco.events import line
from koco.store.model import Key

#: Secrets are in no cache.
_PRIVATE = {"Cache-Control": "no-store"}


class NewKey(Struct, forbid_unknown_fields=True):
    """What a key shall be called, and what it shall be good for."""

    name: str
    scopes: tuple[str, ...] = ("launch",)
    #: Patterns of flows, `service/flow` with `*` for any text; without one it is good for all.
    flows: tuple[str, ...] = ()
    #: Whether its holder sees everybody's executions, not only their own.
    all_executions: bool = False
    #: How long it is good (seconds); for good where that is left out.
    expires_s: float | None = None


class Rotation(Struct, forbid_unknown_fields=True):
    """How long the old secret is good yet, and from now on the new one (seconds)."""

    grace_s: float = keys.GRACE_S
    #: Left out, the key expires when it did.
    expires_s: float | UnsetType = UNSET


@post(
    "/v1/keys",
    guards=[requires("admin")],
    answers={201: Answer(media={JSON: schemas.KeyWithSecret}, headers=["Location"])},
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def create_key(
    request: Request[Any, Caller, State], data: NewKey
) -> Response[dict[str, Any]]:
    """Make a key; its secret is in this answer, and never again in any other."""
    parts: Parts = request.app.state.parts
    audit.about(request, target=data.name, scopes=data.scopes)
    key, secret = await parts.keys.create(
        data.name,
        by=request.auth.name,
        scopes=data.scopes,
        flows=data.flows,
        sees_all=data.all_executions,
        expires_s=data.expires_s,
    )
    headers = {**_PRIVATE, "Location": f"/v1/keys/{quote(key.name)}"}
    return Response({**_told(key), "secret": secret}, status_code=201, headers=headers)


@get("/v1/keys", guards=[requires("admin")], answers={200: schemas.Page[schemas.Key]})
async def list_keys(
    request: Request[Any, Caller, State], limit: int = 50, cursor: str | None = None
) -> dict[str, Any]:
    """List keys by name: what each is good for, and when and from where it was last used."""
    list_query.check_limit(limit)
    parts: Parts = request.app.state.parts
    page = await parts.store.keys.page(limit=limit, cursor=cursor)
    return {"items": [_told(key) for key in page.items], "next": page.next}


@get("/v1/keys/{name:str}", guards=[requires("admin")], answers={200: schemas.Key})
async def show_key(request: Request[Any, Caller, State], name: str) -> dict[str, Any]:
    """Show a key."""
    parts: Parts = request.app.state.parts
    return _told(await parts.store.keys.get(name))


@post(
    "/v1/keys/{name:str}/rotate",
    status_code=200,
    guards=[requires("admin")],
    answers={200: schemas.KeyWithSecret},
    headers=[idempotency.HEADER],
    errors=[ConflictError],
)
@idempotency.keyed(has_secret=True)
async def rotate_key(
    request: Request[Any, Caller, State], name: str, data: Rotation
) -> Response[dict[str, Any]]:
    """Give a key a new secret, which is in this answer only; the old one is good for a grace.

    One old secret is good at most: of a key that is rotated again, the one before that ends.
    """
    parts: Parts = request.app.state.parts
    expires_s = None if data.expires_s is UNSET else data.expires_s
    key, secret = await parts.keys.rotate(name, grace_s=data.grace_s, expires_s=expires_s)
    return Response({**_told(key), "secret": secret}, headers=_PRIVATE)


@delete(
    "/v1/keys/{name:str}",
    status_code=200,
    guards=[requires("admin")],
    answers={200: schemas.Key},
    errors=[ConflictError],
)
async def revoke_key(request: Request[Any, Caller, State], name: str) -> dict[str, Any]:
    """Revoke a key: it is good for nothing at once, and what is followed by it ends."""
    parts: Parts = request.app.state.parts
    return _told(await parts.keys.revoke(name))


@get("/v1/me", guards=[requires("read")], answers={200: schemas.Me})
async def show_me(request: Request[Any, Caller, State]) -> dict[str, Any]:
    """Say who the caller is, by which key or session, what that may do, and until when."""
    caller = request.auth
    return {
        "name": caller.name,
        "by": caller.credential.partition(":")[0],
        "scopes": sorted(caller.scopes),
        "flows": caller.flows,
        "all_executions": caller.sees_all or "admin" in caller.scopes,
        "expires": _time(caller.expires),
    }


def _told(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "status": keys.status(key),
        "scopes": key.scopes,
        "flows": key.flows,
        "all_executions": key.sees_all,
        "created": key.created,
        "by": key.by,
        "expires": _time(key.expires),
        "former_until": _time(key.former_until),
        "last_used": key.last_used,
        "last_from": key.last_from,
    }


def _time(at_s: float | None) -> str | None:
    return None if at_s is None else line.timestamp(at_s)


ROUTES = (create_key, list_keys, show_key, rotate_key, revoke_key, show_me)
