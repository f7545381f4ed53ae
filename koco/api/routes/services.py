"""Services: what is deployed, and undeploying it."""

from typing import Any, get_args

from litestar import Request, delete, get
from litestar.datastructures import State

from koco.api.http import audit, list_query
from koco.api.http.auth import require_service, requires, sees
from koco.api.openapi.schemas import Page, deployed
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.deploy.deployer import GRACE_S, Running
from koco.errors import ConflictError, NotFoundError, UsageError
from koco.store.model import Release

#: The longest that executions may be given to end where they are cancelled (seconds).
_LONGEST_S = 3600.0
#: If a service has several releases, it is listed with the first of these that it has.
_RANKS = ("live", "starting", "failed")


@get("/v1/services", guards=[requires("read")], answers={200: Page[deployed.DeployedService]})
async def list_services(
    request: Request[Any, Caller, State], limit: int = 1000, cursor: str | None = None
) -> dict[str, Any]:
    """List the deployed services, by name. Undeployed ones are not listed."""
    parts: Parts = request.app.state.parts
    present = await parts.store.releases.present()
    chosen = [each for each in _chosen(present) if sees(request.auth, each)]
    items, after = list_query.page(chosen, by=lambda each: each.service, limit=limit, cursor=cursor)
    return {"items": [_told(release) for release in items], "next": after}


@get(
    "/v1/services/{service:str}",
    guards=[requires("read")],
    answers={200: deployed.ServiceInFull},
)
async def show_service(request: Request[Any, Caller, State], service: str) -> dict[str, Any]:
    """Show a service, deployed or not any more: also what of it has not ended."""
    require_service(request.auth, service)
    return await _shown(request.app.state.parts, service)


@delete(
    "/v1/services/{service:str}",
    status_code=200,
    guards=[requires("deploy")],
    answers={200: deployed.Undeployed},
    errors=[ConflictError],
)
async def undeploy(
    request: Request[Any, Caller, State],
    service: str,
    running: str = "refuse",
    grace_s: float = GRACE_S,
    expect: int | None = None,
) -> dict[str, Any]:
    """Take a service away; `running` says what becomes of executions that have not ended."""
    parts: Parts = request.app.state.parts
    if running not in get_args(Running):
        known = ", ".join(get_args(Running))
        raise UsageError(f"running must be one of {known}, got {running[:40]!r}")
    if not 0 <= grace_s <= _LONGEST_S:
        raise UsageError(f"grace_s must be from 0 to {_LONGEST_S:g} seconds, got {grace_s:g}")
    require_service(request.auth, service)
    audit.about(request, running=running)
    ended = await parts.deployer.undeploy(
        service,
        by=request.auth.name,
        running=running,  # type: ignore[arg-type]
        grace_s=grace_s,
        expect=expect,
    )
    return {**await _shown(parts, service), "ended": [release.number for release in ended]}


async def _shown(parts: Parts, service: str) -> dict[str, Any]:
    present = [each for each in await parts.store.releases.present() if each.service == service]
    newest = (await parts.store.releases.page(service, limit=1)).items
    if not newest:
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    [release] = _chosen(present) or newest
    former = await parts.deployer.former(service)
    pools = [pool for key, pool in parts.supervisor.pools.items() if key[0] == service]
    return {
        **_told(release),
        "deployed": bool(present),
        "expect": await parts.deployer.replaced(service),
        "former": former.number if former else None,
        "flows": [flow.name for flow in release.known_flows],
        "executions": await parts.store.executions.count_open(service),
        "runners": sum(len(pool.runners) for pool in pools),
    }


def _chosen(present: list[Release]) -> list[Release]:
    """Return the release of each service that says how the service is."""
    best: dict[str, Release] = {}
    for release in present:
        before = best.get(release.service)
        # Of several that are starting, or failed, the last one counts.
        if before is None or _RANKS.index(release.status) <= _RANKS.index(before.status):
            best[release.service] = release
    return list(best.values())


def _told(release: Release) -> dict[str, Any]:
    return {
        "service": release.service,
        "release": release.number,
        "status": release.status,
        "bundle": release.bundle,
        "origin": release.origin,
        "created": release.created,
        "ready": release.ready,
        "by": release.by,
    }


ROUTES = (list_services, show_service, undeploy)
