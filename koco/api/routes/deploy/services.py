"""Services: list, show and undeploy them."""

from typing import Annotated, get_args

from litestar import delete, get
from msgspec import Meta

from koco.api.http import audit, list_query, time_query
from koco.api.http.auth import require_own, require_service, requires, sees
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import ReleaseStatus, Shape
from koco.control.container import Parts
from koco.control.deploy.deployer import GRACE_S, Running
from koco.errors import ConflictError, NotFoundError, UsageError
from koco.store.model import Page, Release, ReleaseOrigin

#: If a service has several releases, it is listed with the first of these that it has.
_RANKS = ("live", "starting", "failed")


class DeployedService(Shape):
    """A service, and the release that shows its state."""

    service: shapes.Service
    release: shapes.Number
    status: ReleaseStatus
    bundle: shapes.Sha256
    origin: ReleaseOrigin
    created: shapes.Time
    ready: shapes.Time | None
    by: shapes.Person


class ServiceInFull(DeployedService):
    """A service, deployed or undeployed, and its parts that have not ended."""

    deployed: bool
    expect: Annotated[
        int, Meta(description="the number of the release that a deploy would replace; 0 for none")
    ]
    former: Annotated[int | None, Meta(description="the release that a rollback goes back to")]
    flows: list[str]
    executions: dict[str, int]
    parked: Annotated[int, Meta(description="how many of the executions have no process")]
    runners: int


class Undeployed(ServiceInFull):
    """A service that was undeployed, and the numbers of the releases that ended."""

    ended: list[shapes.Number]


@get("/v1/services", guards=[requires("read")])
async def list_services(
    request: Request, limit: int = 1000, cursor: str | None = None
) -> Page[DeployedService]:
    """List the deployed services, by name. Undeployed ones are not listed."""
    present = await request.parts.store.releases.present()
    chosen = [each for each in _choose(present) if sees(request.auth, each)]
    page = list_query.page(chosen, by=lambda each: each.service, limit=limit, cursor=cursor)
    return Page([DeployedService.of(each, release=each.number) for each in page.items], page.next)


@get("/v1/services/{service:str}", guards=[requires("read")])
async def show_service(request: Request, service: str) -> ServiceInFull:
    """Show a service, deployed or undeployed, and its parts that have not ended."""
    require_service(request.auth, service)
    return await _describe(request.parts, service)


@delete(
    "/v1/services/{service:str}",
    status_code=200,
    guards=[requires("deploy")],
    errors=[ConflictError],
)
async def undeploy(
    request: Request,
    service: str,
    running: str = "refuse",
    grace_s: float = GRACE_S,
    expect: int | None = None,
) -> Undeployed:
    """Undeploy a service; `running` decides what happens to executions that have not ended."""
    parts = request.parts
    if running not in get_args(Running):
        known = ", ".join(get_args(Running))
        raise UsageError(f"running must be one of {known}, got {running[:40]!r}")
    time_query.check_seconds("grace_s", grace_s, most_s=time_query.LONGEST_GRACE_S)
    require_service(request.auth, service)
    require_own(request.auth, service)
    audit.add(request, running=running)
    ended = await parts.deployer.undeploy(
        service,
        by=request.auth.name,
        running=running,  # type: ignore[arg-type]
        grace_s=grace_s,
        expect=expect,
    )
    described = await _describe(parts, service)
    return Undeployed.of(described, ended=[release.number for release in ended])


async def _describe(parts: Parts, service: str) -> ServiceInFull:
    present = [each for each in await parts.store.releases.present() if each.service == service]
    newest = (await parts.store.releases.page(service, limit=1)).items
    if not newest:
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    [release] = _choose(present) or newest
    former = await parts.deployer.former(service)
    pools = [pool for key, pool in parts.supervisor.pools.items() if key[0] == service]
    return ServiceInFull.of(
        release,
        release=release.number,
        deployed=bool(present),
        expect=await parts.deployer.replaced(service),
        former=former.number if former else None,
        flows=[flow.name for flow in release.known_flows],
        executions=await parts.store.executions.count_open(service),
        parked=await parts.store.executions.count_parked(service),
        runners=sum(len(pool.runners) for pool in pools),
    )


def _choose(present: list[Release]) -> list[Release]:
    """Return the release of each service that shows the service's state."""
    best: dict[str, Release] = {}
    for release in present:
        before = best.get(release.service)
        # Of several that are starting, or failed, the last one counts.
        if before is None or _RANKS.index(release.status) <= _RANKS.index(before.status):
            best[release.service] = release
    return list(best.values())


ROUTES = (list_services, show_service, undeploy)
