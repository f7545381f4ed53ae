"""Services' secrets. Their values can be set, but not read.

All routes need the scope `deploy`, because a deployed service can read them anyway.
"""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put

from koco.api.http import list_query
from koco.api.http.auth import require_unlimited, requires
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape, text
from koco.control.container import Parts
from koco.control.services import secrets
from koco.errors import ConflictError
from koco.plurals import verbal
from koco.store.model import Page

#: Why keys that are limited to flows may not use these routes.
_SHARED = "secrets are shared by all services"


class Secret(Shape):
    """A secret without its value, and the live services that have it."""

    name: Annotated[str, text("OPENAI_API_KEY")]
    updated: shapes.Time
    by: shapes.Person
    trouble: str | None
    services: list[shapes.Service]


class SecretSet(Shape):
    """A secret that was set, and the services whose processes are replaced because of it."""

    name: str
    new: bool
    services: list[shapes.Service]


class SecretUnset(Shape):
    """A secret that was removed, and the services that miss it."""

    name: str
    services: list[shapes.Service]


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    """The value of a secret."""

    value: str


@get("/v1/secrets", guards=[requires("deploy")])
async def list_secrets(
    request: Request, limit: int = 1000, cursor: str | None = None
) -> Page[Secret]:
    """List secrets by name: who set them when, and which live services have them."""
    require_unlimited(request.auth, _SHARED)
    parts = request.parts
    live = await parts.store.releases.with_status("live")
    found = [
        Secret.of(each, services=[user.service for user in secrets.users_of(each.name, live)])
        for each in await parts.vault.listing()
    ]
    return list_query.page(found, by=lambda each: each.name, limit=limit, cursor=cursor)


@put(
    "/v1/secrets/{name:str}",
    guards=[requires("deploy")],
    answers={201: SecretSet, 200: SecretSet},
    errors=[secrets.SecretError],
)
async def set_secret(request: Request, name: str, data: NewSecret) -> Response[SecretSet]:
    """Set a secret; runners that have it are replaced by runners with the new value."""
    require_unlimited(request.auth, _SHARED)
    parts = request.parts
    is_new = await parts.vault.put(name, data.value, by=request.auth.name)
    # Even if it is new: a process may have started with one that was unset since.
    answer = SecretSet(name, is_new, await _renew(parts, name))
    return Response(answer, status_code=201 if is_new else 200)


@delete(
    "/v1/secrets/{name:str}",
    guards=[requires("deploy")],
    status_code=200,
    errors=[ConflictError],
)
async def unset_secret(request: Request, name: str, force: bool = False) -> SecretUnset:
    """Remove a secret; refused while services need it, unless forced.

    Those are the live ones, and older releases of which executions have not ended: a parked one
    may need a new process after months.
    """
    require_unlimited(request.auth, _SHARED)
    parts = request.parts
    live = await parts.store.releases.with_status("live")
    services = [each.service for each in secrets.users_of(name, live)]
    retired = secrets.users_of(name, await parts.store.releases.retired_in_use())
    open_ones = "for executions that have not ended"
    users = [
        *services,
        *(f"release {each.number} of {each.service} ({open_ones})" for each in retired),
    ]
    if users and not force:
        raise ConflictError(
            f"{', '.join(users)} {verbal(len(users), 'needs')} the secret {name!r}",
            hint="no new runner of theirs would start; `--force` removes it anyway",
        )
    await parts.vault.remove(name)
    return SecretUnset(name, list(dict.fromkeys([*services, *(each.service for each in retired)])))


async def _renew(parts: Parts, name: str) -> list[str]:
    """Replace the processes that know a secret's old value. Return their services."""
    services: dict[str, None] = {}
    for status in ("live", "starting"):
        for release in secrets.users_of(name, await parts.store.releases.with_status(status)):
            services[release.service] = None
            parts.deployer.renew(release)
    return list(services)


ROUTES = (list_secrets, set_secret, unset_secret)
