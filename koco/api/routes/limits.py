"""The limits of flows: those of their manifests, and those that somebody has set instead."""

from typing import Annotated, Self

from litestar import delete, get, patch
from msgspec import UNSET, Meta, Struct, UnsetType

from koco.api.http import audit, auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape
from koco.control.container import Parts
from koco.control.runners.concurrency import limits_of
from koco.control.runners.limit_overrides import NAMES
from koco.control.services.catalog import Entry
from koco.errors import ConflictError, UsageError
from koco.store.model import Page

_Count = Annotated[int, Meta(ge=0)] | None


class LimitCounts(Shape):
    """How many executions of a flow run and wait at most. Null means no limit."""

    running: _Count
    queue: _Count


class LimitOverride(Shape):
    """The limits that somebody has set; a limit that is absent is the manifest's."""

    until_deploy: bool
    by: shapes.Person
    since: shapes.Time
    running: _Count | UnsetType = UNSET
    queue: _Count | UnsetType = UNSET


class LimitState(LimitCounts):
    """A flow's limits as they count now, those of its manifest, and what was set instead."""

    flow: shapes.Flow
    manifest: LimitCounts
    override: LimitOverride | None

    @classmethod
    def render(cls, parts: Parts, entry: Entry) -> Self:
        """Return the limits of a flow that is live."""
        release = parts.catalog.release(entry.service)
        now = parts.supervisor.limits(release, entry.flow.name)
        declared = limits_of(release.manifest, entry.flow.name)
        found = parts.supervisor.overrides.of(entry.name, release.number)
        override = found and LimitOverride(
            until_deploy=found.release is not None, by=found.by, since=found.since, **found.limits
        )
        return cls.of(now, flow=entry.name, manifest=LimitCounts.of(declared), override=override)


class NewLimits(Struct, forbid_unknown_fields=True):
    """New limits of a flow. Those that are absent stay as they are."""

    running: _Count | UnsetType = UNSET
    queue: _Count | UnsetType = UNSET
    #: Whether what is set for the flow ends with the next deploy or rollback of its service.
    until_deploy: bool = False


@get("/v1/limits", guards=[requires("read")])
async def list_limits(
    request: Request, limit: int = 1000, cursor: str | None = None
) -> Page[LimitState]:
    """List the limits of the flows that the caller may use, by name."""
    entries = [each for each in request.parts.catalog.entries() if request.auth.reaches(each.name)]
    page = list_query.page(entries, by=lambda each: each.name, limit=limit, cursor=cursor)
    return Page([LimitState.render(request.parts, each) for each in page.items], page.next)


@patch("/v1/limits/{name:path}", guards=[requires("deploy")], errors=[ConflictError])
async def set_limits(request: Request, name: str, data: NewLimits) -> LimitState:
    """Set limits of a flow in place of its manifest's. They count at once."""
    entry = auth.find_flow(request, name.lstrip("/"))
    parts = request.parts
    new = {key: each for key in NAMES if (each := getattr(data, key)) is not UNSET}
    if not new:
        raise UsageError("no limit is given", hint='such as {"running": 5}')
    await parts.supervisor.overrides.put(
        entry.name,
        new,
        release=parts.catalog.release(entry.service).number,
        until_deploy=data.until_deploy,
        by=request.auth.name,
    )
    parts.supervisor.pump()  # a raised limit may let executions begin
    audit.add(request, target=entry.name, **new, until_deploy=data.until_deploy)
    return LimitState.render(parts, entry)


@delete(
    "/v1/limits/{name:path}", status_code=200, guards=[requires("deploy")], errors=[ConflictError]
)
async def reset_limits(request: Request, name: str) -> LimitState:
    """Let the flow's manifest decide again. It counts at once."""
    entry = auth.find_flow(request, name.lstrip("/"))
    await request.parts.supervisor.overrides.remove(entry.name)
    request.parts.supervisor.pump()
    audit.add(request, target=entry.name)
    return LimitState.render(request.parts, entry)


ROUTES = (list_limits, set_limits, reset_limits)
