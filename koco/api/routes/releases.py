"""Releases of services: making them, going back to them, and their history."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from koco.api.http import audit
from koco.api.http.auth import (
    ABOUT_TRACEBACKS,
    is_owner,
    require_service,
    require_unlimited,
    requires,
)
from koco.api.http.list_query import check_limit
from koco.api.middleware import idempotency
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.schemas import Page, deployed
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.deploy import checks
from koco.control.deploy.deployer import READY_S
from koco.errors import ConflictError, ManifestError, NotFoundError, UsageError
from koco.forms.off_loop import is_small, run_check
from koco.manifest import key_literals, load
from koco.manifest.model import Manifest
from koco.store.model import LAST, Release, ReleaseOrigin

#: The longest that one request waits for a release (seconds).
_WAIT_S = 60.0
#: The longest that a release may be given to become ready (seconds).
_LONGEST_S = 86_400.0
#: Keys that a list leaves out of each release: large ones, and those that only a deploy reads.
_LEFT_OUT = ("manifest", "flows", "app", "fingerprint", "unchanged")

#: How a deploy and a rollback are answered.
_BEGUN = {
    202: Answer(media={JSON: deployed.Release}, about="it is starting"),
    200: Answer(media={JSON: deployed.Release}, about="it is live already"),
}


class Origin(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where a release comes from, as far as its deployer knows."""

    project: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    #: The git commit, and whether files of the service differ from it.
    commit: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    dirty: bool | None = None


class NewRelease(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest as data, the bundle it goes with, and how long getting ready may take."""

    manifest: dict[str, Any]
    bundle: str
    timeout_s: float = READY_S
    origin: Origin = msgspec.field(default_factory=Origin)
    #: Whether the former release goes on serving where this one fails.
    fallback: bool = True
    #: The number of the release that it is to replace, as a plan said; 0 for none.
    expect: int | None = None


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """The release to go back to: a number, or the last one that served before."""

    number: Annotated[int, msgspec.Meta(ge=1, le=LAST)] | None = None
    timeout_s: float = READY_S
    fallback: bool = True


@post(
    "/v1/services/{service:str}/releases",
    guards=[requires("deploy")],
    answers=_BEGUN,
    headers=[idempotency.HEADER],
    errors=[ConflictError, ManifestError],
)
@idempotency.keyed()
async def create_release(
    request: Request[Any, Caller, State], service: str, data: NewRelease
) -> Response[dict[str, Any]]:
    """Begin a release; 202 while it is starting, 200 where it is live or has failed."""
    parts: Parts = request.app.state.parts
    require_service(request.auth, service)
    given = data.manifest
    manifest = await run_check(lambda: load.check(given), is_quick=is_small(given))
    if manifest.service != service:
        raise UsageError(f"the manifest is of service {manifest.service!r}, not {service!r}")
    await _refuse_more_secrets(request, manifest)
    _check_timeout(data.timeout_s)
    await parts.bundles.check(data.bundle)
    await checks.refuse(parts, manifest, await parts.bundles.names(data.bundle))
    release, unchanged = await parts.deployer.deploy(
        manifest,
        bundle=data.bundle,
        by=request.auth.name,
        timeout_s=data.timeout_s,
        origin=msgspec.convert(data.origin, ReleaseOrigin, from_attributes=True),
        fallback=data.fallback,
        expect=data.expect,
    )
    return await _begun(request, release, unchanged=unchanged)


@post(
    "/v1/services/{service:str}/rollback",
    guards=[requires("deploy")],
    answers=_BEGUN,
    headers=[idempotency.HEADER],
    errors=[ConflictError, ManifestError],
)
@idempotency.keyed()
async def roll_back(
    request: Request[Any, Caller, State], service: str, data: Rollback
) -> Response[dict[str, Any]]:
    """Begin a release that is as a former one was; answered as a deploy is."""
    parts: Parts = request.app.state.parts
    require_service(request.auth, service)
    _check_timeout(data.timeout_s)
    # Where to go back to is decided by what is there now, and by nothing that comes meanwhile.
    seen = await parts.deployer.replaced(service)
    target = await parts.deployer.target(service, data.number)
    await _refuse_more_secrets(request, target.manifest)
    # What it needs may have gone since: a secret, say.
    stored = load.to_data(target.manifest)
    manifest = await run_check(lambda: load.check(stored), is_quick=is_small(stored))
    await checks.refuse(parts, manifest)
    release, unchanged = await parts.deployer.rollback(
        target,
        by=request.auth.name,
        timeout_s=data.timeout_s,
        fallback=data.fallback,
        expect=seen,
    )
    return await _begun(request, release, unchanged=unchanged)


@get(
    "/v1/services/{service:str}/releases",
    guards=[requires("read")],
    answers={200: Page[deployed.ListedRelease]},
)
async def list_releases(
    request: Request[Any, Caller, State], service: str, limit: int = 50, cursor: str | None = None
) -> dict[str, Any]:
    """List a service's releases, newest first, without what is large of them."""
    check_limit(limit)
    require_service(request.auth, service)
    parts: Parts = request.app.state.parts
    page = await parts.store.releases.page(service, limit=limit, cursor=cursor)
    if not page.items and cursor is None:
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    items = [_shown(request, release) for release in page.items]
    small = [{key: value for key, value in each.items() if key not in _LEFT_OUT} for each in items]
    return {"items": small, "next": page.next}


@get(
    "/v1/services/{service:str}/releases/{number:int}",
    guards=[requires("read")],
    answers={200: deployed.Release},
)
async def show_release(
    request: Request[Any, Caller, State], service: str, number: int, wait: float = 0.0
) -> dict[str, Any]:
    """Show a release, after it left `starting` or `wait` seconds."""
    require_service(request.auth, service)
    if number > LAST:
        raise NotFoundError(f"service {service!r} has no release {number}")
    # Not `max(wait, 0.0)`: that is NaN for NaN, and a timer set to it breaks the loop's others.
    seconds = min(wait, _WAIT_S) if wait > 0 else 0.0
    parts: Parts = request.app.state.parts
    release = await parts.deployer.wait(service, number, seconds=seconds)
    told = _shown(request, release)
    if release.status == "starting":
        told["waits_for"] = await parts.deployer.waits_for(release)
        told["doing"] = await parts.deployer.doing(release)
    return told


async def _refuse_more_secrets(request: Request[Any, Caller, State], manifest: Manifest) -> None:
    """Refuse a service new secrets at the word of who is limited to it: they may be others'."""
    asked = set(manifest.secrets)
    if not (request.auth.flows and asked):
        return
    live = await request.app.state.parts.store.releases.live(manifest.service)
    if more := asked - set(live.manifest.secrets if live else ()):
        named = ", ".join(sorted(more))
        what = f"what is live of {manifest.service!r} has not had these secrets: {named}"
        require_unlimited(request.auth, what)


def _check_timeout(timeout_s: float) -> None:
    if not 0 < timeout_s <= _LONGEST_S:
        raise UsageError(f"timeout_s must be from 0 to {_LONGEST_S:g} seconds, got {timeout_s:g}")


async def _begun(
    request: Request[Any, Caller, State], release: Release, *, unchanged: bool
) -> Response[dict[str, Any]]:
    parts: Parts = request.app.state.parts
    audit.about(request, target=f"{release.service}/{release.number}", unchanged=unchanged)
    if unchanged:
        # What somebody else has made of its endpoint is no other release.
        await parts.deployer.repair(release)
    code = 202 if release.status == "starting" else 200
    headers = {"Location": f"/v1/services/{release.service}/releases/{release.number}"}
    told = _told(parts, release, unchanged=unchanged)
    return Response(told, status_code=code, headers=headers)


def _told(parts: Parts, release: Release, *, unchanged: bool = False) -> dict[str, Any]:
    fields = msgspec.structs.asdict(release)
    fields |= {key: msgspec.to_builtins(fields[key]) for key in ("error", "app", "origin")}
    fields["manifest"] = load.to_data(release.manifest)
    flows = [
        {"name": f"{release.service}/{flow.name}", "entrypoint": flow.entrypoint}
        for flow in release.known_flows
    ]
    # Without its bundle nothing goes back to it.
    available = parts.bundles.has(release.bundle)
    return {**fields, "flows": flows, "available": available, "unchanged": unchanged}


def _shown(request: Request[Any, Caller, State], release: Release) -> dict[str, Any]:
    """Return a release as its reader may see it: what looks like a key is its owners' business."""
    told = _told(request.app.state.parts, release)
    if is_owner(request):
        return told
    told["manifest"] = key_literals.mask((), told["manifest"])
    if (error := told["error"]) and error.get("detail"):
        told["error"] = {**error, "detail": None, "hint": error["hint"] or ABOUT_TRACEBACKS}
    return told


ROUTES = (create_release, roll_back, list_releases, show_release)
