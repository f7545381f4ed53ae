"""Services' secrets. Values go in and never out.

All of it takes the scope `deploy`: whoever may deploy can run code that has them.
"""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.datastructures import State

from koco.api.http import list_query
from koco.api.http.auth import require_unlimited, requires
from koco.api.openapi.schemas import Page, deployed
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.services import secrets
from koco.errors import ConflictError
from koco.plurals import verbal

#: Why keys that are limited to flows have no say here.
_SHARED = "secrets are shared by all services"


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    """What a secret shall be."""

    value: str


@get("/v1/secrets", guards=[requires("deploy")], answers={200: Page[deployed.Secret]})
async def list_secrets(
    request: Request[Any, Caller, State], limit: int = 1000, cursor: str | None = None
) -> dict[str, Any]:
    """List secrets by name: who set them when, and which live services have them."""
    require_unlimited(request.auth, _SHARED)
    parts: Parts = request.app.state.parts
    live = await parts.store.releases.with_status("live")
    listing = await parts.vault.listing()
    some, after = list_query.page(listing, by=lambda each: each["name"], limit=limit, cursor=cursor)
    items = [
        {**each, "services": [user.service for user in secrets.users_of(each["name"], live)]}
        for each in some
    ]
    return {"items": items, "next": after}


@put(
    "/v1/secrets/{name:str}",
    guards=[requires("deploy")],
    answers={201: deployed.SecretSet, 200: deployed.SecretSet},
    errors=[secrets.SecretError],
)
async def set_secret(
    request: Request[Any, Caller, State], name: str, data: NewSecret
) -> Response[dict[str, Any]]:
    """Set a secret; runners that have it are replaced by such as have the new value."""
    require_unlimited(request.auth, _SHARED)
    parts: Parts = request.app.state.parts
    is_new = await parts.vault.put(name, data.value, by=request.auth.name)
    # Where it is new, too: a process may have started with one that was unset since.
    services = await _renew(parts, name)
    answer = {"name": name, "new": is_new, "services": services}
    return Response(answer, status_code=201 if is_new else 200)


@delete(
    "/v1/secrets/{name:str}",
    guards=[requires("deploy")],
    status_code=200,
    answers={200: deployed.SecretUnset},
    errors=[ConflictError],
)
async def unset_secret(
    request: Request[Any, Caller, State], name: str, force: bool = False
) -> dict[str, Any]:
    """Forget a secret; refused while live services have it, unless forced."""
    require_unlimited(request.auth, _SHARED)
    parts: Parts = request.app.state.parts
    live = await parts.store.releases.with_status("live")
    services = [each.service for each in secrets.users_of(name, live)]
    if services and not force:
        raise ConflictError(
            f"{', '.join(services)} {verbal(len(services), 'needs')} the secret {name!r}",
            hint="no new runner of theirs would start; `--force` forgets it all the same",
        )
    await parts.vault.remove(name)
    return {"name": name, "services": services}


async def _renew(parts: Parts, name: str) -> list[str]:
    """Have the processes that know a secret's old value replaced; return their services."""
    services: dict[str, None] = {}
    for status in ("live", "starting"):
        for release in secrets.users_of(name, await parts.store.releases.with_status(status)):
            services[release.service] = None
            parts.deployer.renew(release)
    return list(services)


ROUTES = (list_secrets, set_secret, unset_secret)
