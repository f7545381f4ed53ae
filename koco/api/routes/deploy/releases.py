"""Releases of services: deploy, roll back, and list them."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from litestar import Response, get, post
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import audit
from koco.api.http.auth import (
    ABOUT_TRACEBACKS,
    is_owner,
    require_own,
    require_service,
    require_unlimited,
    requires,
)
from koco.api.http.list_query import check_limit
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Shape, Time, text
from koco.control.deploy import checks
from koco.control.deploy.deployer import READY_S
from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.errors import ConflictError, ManifestError, NotFoundError, UsageError
from koco.forms.off_loop import is_small, run_check
from koco.manifest import key_literals, load
from koco.manifest.descriptions import AppHandlers
from koco.store import model
from koco.store.model import LAST, Page, ReleaseFailure, ReleaseOrigin

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

#: The longest that one request waits for a release (seconds).
_WAIT_S = 60.0
#: The longest that a release may be given to become ready (seconds).
_LONGEST_S = 86_400.0


class ReleaseFlow(Shape):
    """A flow of a release."""

    name: shapes.Flow
    entrypoint: Annotated[str, text("hello_app:greet")]


class ListedRelease(Shape):
    """One version of a service, without its large members."""

    service: shapes.Service
    number: shapes.Number
    status: shapes.ReleaseStatus
    bundle: shapes.Sha256
    created: Time
    ready: Time | None
    by: shapes.Person
    error: ReleaseFailure | None
    origin: ReleaseOrigin
    timings: Annotated[
        dict[str, float], Meta(description="how long each part of becoming ready took (seconds)")
    ]
    fallback: bool
    retired: Time | None
    available: Annotated[bool, Meta(description="whether a rollback can go back to it")]

    @classmethod
    async def render(cls, request: Request, release: model.Release, **others: Any) -> Self:
        """Return a release as the caller may see it."""
        error = release.error
        if error and error.detail and not is_owner(request):
            hint = error.hint or ABOUT_TRACEBACKS
            error = ReleaseFailure(message=error.message, hint=hint)
        try:
            # Without its bundle nothing can go back to it.
            available = await request.parts.bundles.has(release.bundle)
        except BlobsAwayError:
            available = False  # as long as nobody can fetch its bundle
        return cls.of(release, error=error, available=available, **others)


class Release(ListedRelease):
    """One version of a service, with its manifest and its flows."""

    fingerprint: str
    manifest: Annotated[
        dict[str, Any],
        Meta(
            description="a manifest as data (docs/manifest.md)",
            examples=[
                {"service": "hello", "flows": [{"name": "greet", "entrypoint": "hello_app:greet"}]}
            ],
        ),
    ]
    flows: list[ReleaseFlow]
    app: AppHandlers | None
    unchanged: Annotated[bool, Meta(description="whether it was live before the request")]
    waits_for: (
        Annotated[str | None, Meta(description="why no node takes it, and who uses what it needs")]
        | UnsetType
    ) = UNSET
    doing: (
        Annotated[str | None, Meta(description="the step of its deploy that is being done")]
        | UnsetType
    ) = UNSET

    @classmethod
    async def render(cls, request: Request, release: model.Release, **others: Any) -> Self:
        """Return a release as the caller may see it: only those who may deploy see keys in it."""
        manifest = load.to_data(release.manifest)
        flows = [
            ReleaseFlow(f"{release.service}/{flow.name}", flow.entrypoint)
            for flow in release.known_flows
        ]
        if not is_owner(request):
            manifest = key_literals.mask((), manifest)
        defaults = {"unchanged": False, "waits_for": UNSET, "doing": UNSET}
        return await super().render(
            request, release, manifest=manifest, flows=flows, **{**defaults, **others}
        )


#: The answers to a deploy and to a rollback.
_BEGUN = {
    202: Answer(media={JSON: Release}, about="it is starting"),
    200: Answer(media={JSON: Release}, about="it is live already"),
}


class Origin(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The origin of a release, as far as its deployer knows."""

    project: Annotated[str, Meta(max_length=1000)] | None = None
    #: The git commit, and whether files of the service differ from it.
    commit: Annotated[str, Meta(max_length=100)] | None = None
    dirty: bool | None = None
    #: The keys of `runtime.env` whose values come from `.env` files. A plan does not show them.
    #: Without it, a plan shows no former value of `runtime.env`.
    hidden_env: list[str] | None = None


class NewRelease(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest as data, its bundle, and how long it may take to become ready."""

    manifest: dict[str, Any]
    bundle: str
    timeout_s: float = READY_S
    origin: Origin = msgspec.field(default_factory=Origin)
    #: Whether the former release goes on serving if this one fails.
    fallback: bool = True
    #: The number of the release that it should replace, as in a plan; 0 for none.
    expect: int | None = None


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """The release to go back to: a number, or the last one that served before."""

    number: Annotated[int, Meta(ge=1, le=LAST)] | None = None
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
async def create_release(request: Request, service: str, data: NewRelease) -> Response[Release]:
    """Begin a release; 202 while it is starting, 200 if it is live or has failed."""
    parts = request.parts
    require_service(request.auth, service)
    require_own(request.auth, service)
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
    return await _answer(request, release, unchanged=unchanged)


@post(
    "/v1/services/{service:str}/rollback",
    guards=[requires("deploy")],
    answers=_BEGUN,
    headers=[idempotency.HEADER],
    errors=[ConflictError, ManifestError],
)
@idempotency.keyed()
async def roll_back(request: Request, service: str, data: Rollback) -> Response[Release]:
    """Begin a release that repeats a former one; the answer is like a deploy's."""
    parts = request.parts
    require_service(request.auth, service)
    require_own(request.auth, service)
    _check_timeout(data.timeout_s)
    # The target is chosen by the current release, whatever is deployed meanwhile.
    seen = await parts.deployer.replaced(service)
    target = await parts.deployer.target(service, data.number)
    await _refuse_more_secrets(request, target.manifest)
    # Something that it needs may be gone since, for example a secret.
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
    return await _answer(request, release, unchanged=unchanged)


@get("/v1/services/{service:str}/releases", guards=[requires("read")])
async def list_releases(
    request: Request, service: str, limit: int = 50, cursor: str | None = None
) -> Page[ListedRelease]:
    """List a service's releases, newest first, without their large members."""
    check_limit(limit)
    require_service(request.auth, service)
    page = await request.parts.store.releases.page(service, limit=limit, cursor=cursor)
    if not page.items and cursor is None:
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    shown = await asyncio.gather(*(ListedRelease.render(request, each) for each in page.items))
    return Page(shown, page.next)


@get("/v1/services/{service:str}/releases/{number:int}", guards=[requires("read")])
async def show_release(request: Request, service: str, number: int, wait: float = 0.0) -> Release:
    """Show a release, after it left `starting` or `wait` seconds."""
    require_service(request.auth, service)
    if number > LAST:
        raise NotFoundError(f"service {service!r} has no release {number}")
    # Not `max(wait, 0.0)`: that is NaN for NaN, and a timer set to it breaks the loop's others.
    seconds = min(wait, _WAIT_S) if wait > 0 else 0.0
    deployer = request.parts.deployer
    release = await deployer.wait(service, number, seconds=seconds)
    if release.status != "starting":
        return await Release.render(request, release)
    waits_for, doing = await deployer.waits_for(release), await deployer.doing(release)
    return await Release.render(request, release, waits_for=waits_for, doing=doing)


async def _refuse_more_secrets(request: Request, manifest: "Manifest") -> None:
    """Refuse new secrets to callers who are limited to flows: they may belong to other services."""
    asked = set(manifest.secrets)
    if not (request.auth.flows and asked):
        return
    live = await request.parts.store.releases.live(manifest.service)
    if more := asked - set(live.manifest.secrets if live else ()):
        named = ", ".join(sorted(more))
        what = f"the live release of {manifest.service!r} does not have these secrets: {named}"
        require_unlimited(request.auth, what)


def _check_timeout(timeout_s: float) -> None:
    if not 0 < timeout_s <= _LONGEST_S:
        raise UsageError(f"timeout_s must be from 0 to {_LONGEST_S:g} seconds, got {timeout_s:g}")


async def _answer(
    request: Request, release: model.Release, *, unchanged: bool
) -> Response[Release]:
    audit.add(request, target=f"{release.service}/{release.number}", unchanged=unchanged)
    if unchanged:
        # Others may have changed its endpoint, which makes no new release.
        await request.parts.deployer.repair(release)
    code = 202 if release.status == "starting" else 200
    headers = {"Location": f"/v1/services/{release.service}/releases/{release.number}"}
    answer = await Release.render(request, release, unchanged=unchanged)
    return Response(answer, status_code=code, headers=headers)


ROUTES = (create_release, roll_back, list_releases, show_release)
