"""Services and their releases."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from koco.api.access import requires
from koco.control import checks
from koco.control.deployer import READY_S
from koco.control.parts import Parts
from koco.errors import NotFoundError, UsageError
from koco.manifest import load
from koco.store.model import Release

#: The longest that one request waits for a release (seconds).
_WAIT_S = 60.0
#: What is larger is no number to the store.
_LAST_NUMBER = 2**62


class Origin(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where a release comes from, as far as its deployer knows."""

    project: str | None = None
    #: The git commit, and whether files of the service differ from it.
    commit: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    dirty: bool | None = None


class NewRelease(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest as data, the bundle it goes with, and how long getting ready may take."""

    manifest: dict[str, Any]
    bundle: str
    by: str | None = None
    timeout_s: float = READY_S
    origin: Origin = msgspec.field(default_factory=Origin)
    #: Whether the former release goes on serving where this one fails.
    fallback: bool = True
    #: The number of the release that it is to replace, as a plan said; 0 for none.
    expect: int | None = None


def _render(release: Release, *, unchanged: bool = False) -> dict[str, Any]:
    fields = msgspec.structs.asdict(release)
    flows = [
        {"name": f"{release.service}/{flow['name']}", "entrypoint": flow["entrypoint"]}
        for flow in release.flows or release.manifest["flows"]
    ]
    return {**fields, "flows": flows, "unchanged": unchanged}


@post("/v1/services/{service:str}/releases", guards=[requires("deploy")])
async def create_release(
    request: Request[str, Any, State], service: str, data: NewRelease
) -> Response[dict[str, Any]]:
    """Begin a release; 202 while it is starting, 200 where nothing has changed."""
    parts: Parts = request.app.state.parts
    manifest = load.to_data(load.check(data.manifest))
    if manifest["service"] != service:
        raise UsageError(f"the manifest is of service {manifest['service']!r}, not {service!r}")
    if not 0 < data.timeout_s <= 86_400:
        raise UsageError(f"timeout_s must be from 0 to 86400 seconds, got {data.timeout_s:g}")
    parts.bundles.path(data.bundle)
    await checks.refuse(parts, manifest)
    release, unchanged = await parts.deployer.deploy(
        manifest,
        bundle=data.bundle,
        by=data.by or request.scope["user"],
        timeout_s=data.timeout_s,
        origin=msgspec.to_builtins(data.origin),
        fallback=data.fallback,
        expect=data.expect,
    )
    if unchanged:
        # What somebody else has made of its endpoint is no other release.
        await parts.deployer.repair(release)
    code = 202 if release.status == "starting" else 200
    return Response(_render(release, unchanged=unchanged), status_code=code)


@get("/v1/services/{service:str}/releases/{number:int}", guards=[requires("read")])
async def show_release(
    state: State, service: str, number: int, wait: float = 0.0
) -> dict[str, Any]:
    """Show a release, after it left `starting` or `wait` seconds."""
    if number > _LAST_NUMBER:
        raise NotFoundError(f"service {service!r} has no release {number}")
    # Not `max(wait, 0.0)`: that is NaN for NaN, and a timer set to it breaks the loop's others.
    seconds = min(wait, _WAIT_S) if wait > 0 else 0.0
    return _render(await state.parts.deployer.wait(service, number, seconds=seconds))


ROUTES = (create_release, show_release)
