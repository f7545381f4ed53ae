"""Status: the control plane, the cluster, services and executions."""

import asyncio
import os
from typing import Annotated, Literal

import msgspec
from litestar import get
from msgspec import Meta

from koco import __version__
from koco.api.http.auth import requires, sees
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape, text
from koco.cluster.serve import name_of
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.executions.leftovers import LeftOver
from koco.control.executions.scheduling.schedules import ScheduleState
from koco.control.health import problems
from koco.control.members import missing
from koco.control.settings import Settings
from koco.errors import KocoError
from koco.store.engine.protocol import Engine
from koco.store.model import EVERYTHING, Release

#: How long Serve may take to report its applications (seconds).
_SERVE_S = 2.0


class ControlPlane(Shape):
    """The control plane's process."""

    pid: int
    version: Annotated[str, text("0.1.0")]
    code: str
    url: Annotated[str, text("http://127.0.0.1:8700")]
    started: shapes.Time
    restarts: int


class Node(Shape):
    """A node of the cluster. `death` says why it died."""

    id: str
    address: str
    alive: bool
    resources: dict[str, float]
    free: dict[str, float]
    labels: dict[str, str]
    death: str | None


class Ray(Shape):
    """The cluster: its versions, its nodes, and whether it demands a token."""

    version: Annotated[str, text("2.60.0")]
    python: Annotated[str, text("3.11.2")]
    nodes: list[Node]
    auth: str


class StoreFacts(Shape):
    """The store's location and size."""

    path: str
    size_bytes: int
    waits_for: Annotated[
        Literal["standby"] | None,
        text("standby", "what changes wait for: a synchronous standby that is away, or null"),
    ] = None


class BlobFacts(Shape):
    """The location of bundles and files."""

    path: Annotated[str, text("s3://my-bucket/koco")]


class FlowLoad(Shape):
    """The number of running and waiting executions of a flow, and its limits."""

    flow: Annotated[str, text("greet")]
    running: int
    waiting: int
    max_running: int | None
    max_queue: int | None


class FlowSchedule(ScheduleState, frozen=True, kw_only=True):
    """A schedule and the short name of its flow."""

    flow: Annotated[str, text("greet")]


class ServiceStatus(Shape):
    """The state of a service."""

    name: shapes.Service
    release: shapes.Number
    status: Literal["live", "failing", "draining", "failed", "starting"]
    trouble: str | None
    flows: list[str]
    load: list[FlowLoad]
    schedule: list[FlowSchedule]
    runners: int
    endpoint: Annotated[
        str | None, Meta(description="the status of its endpoint in Serve; null if it has none")
    ]
    drift: str | None


class Process(Shape):
    """One of several processes of the control plane."""

    name: Annotated[str, text("member:1:1")]
    url: Annotated[str, text("http://10.0.0.5:8400")]
    node: Annotated[str, text("10.0.0.5")]
    pid: int
    version: Annotated[str, text("0.1.0")]
    started: shapes.Time
    leads: bool


class MissingProcess(Shape):
    """A process of the control plane that has not started, or that has ended."""

    name: Annotated[str, text("member:1:2")]
    why: str


class Overview(Shape):
    """The state of the control plane, the cluster, the services and the executions."""

    control_plane: ControlPlane
    ray: Ray
    store: StoreFacts
    blobs: BlobFacts
    services: list[ServiceStatus]
    settings: Settings
    executions: dict[str, int]
    mortal: Annotated[
        dict[str, int],
        Meta(
            description="executions that would end with an error if their processes were stopped,"
            " by status: they are not durable, and no further attempt follows"
        ),
    ]
    left: Annotated[
        list[LeftOver] | None,
        Meta(description="Ray tasks and actors of ended executions; null if Ray does not say"),
    ]
    processes: Annotated[
        list[Process], Meta(description="the control plane's processes, if it has several")
    ]
    missing: Annotated[
        list[MissingProcess], Meta(description="those of its processes that do not run now")
    ]


@get("/v1/status", guards=[requires("read")])
async def show_status(request: Request) -> Overview:
    """Show the control plane, Ray, the store, services, and executions by status.

    Only services and executions that the caller may see are included. Callers who do not see all
    executions get no counts of ended ones.
    """
    parts = request.parts
    cluster = await parts.cluster.describe()
    await parts.schedules.up_to_date()
    present = _seen(request.auth, await parts.store.releases.present())
    live = [release for release in present if release.status == "live"]
    closed = [release for release in present if release.has_closed]
    shown = {release.service for release in (*live, *closed)}
    coming = {each.service: each for each in present if each.status == "starting"}  # the newest
    first = [release for name, release in coming.items() if name not in shown]
    shown |= coming.keys()
    draining = _seen(request.auth, await _draining(parts, shown=shown))
    endpoints, drift, unseen = await _endpoints(parts, live)
    gone = await missing.find(parts.store.engine, parts.start, cluster.nodes)
    unplaced = await problems.of_runners(parts, live)
    for release in first:
        if waits := await parts.deployer.waits_for(release):
            unplaced[release.service] = waits
    return Overview(
        control_plane=ControlPlane(
            pid=os.getpid(),
            version=__version__,
            code=parts.code,
            url=parts.url,
            started=parts.started,
            restarts=cluster.restarts,
        ),
        ray=Ray.of(cluster, nodes=[Node.of(each, alive=each.is_alive) for each in cluster.nodes]),
        store=await _store(parts.store.engine),
        blobs=BlobFacts(parts.files.blobs.kept.location),
        services=[
            _service(parts, release, endpoints, unplaced, drift, unseen=unseen)
            for release in (*live, *closed, *first, *draining)
        ],
        settings=parts.settings,
        executions=await parts.store.executions.count_by_status(request.auth.sight),
        mortal=await parts.store.executions.count_mortal(request.auth.sight),
        left=await _left(parts, request.auth),
        processes=await _processes(parts.store.engine),
        missing=[MissingProcess.of(each) for each in gone],
    )


async def _store(engine: Engine) -> StoreFacts:
    misses = await engine.missed_standbys()
    waits_for: Literal["standby"] | None = None if misses is None else "standby"
    return StoreFacts(engine.location, await engine.size_bytes(), waits_for)


async def _processes(engine: Engine) -> list[Process]:
    leader = await engine.leader()
    return [
        Process.of(each, leads=leader is not None and leader.member == each.name)
        for each in await engine.members()
    ]


async def _left(parts: Parts, caller: Caller) -> list[LeftOver] | None:
    """Return the Ray tasks and actors of ended executions, or None if Ray does not list them."""
    if caller.sight != EVERYTHING:
        return []  # their owners are not always known
    try:
        async with asyncio.timeout(_SERVE_S):
            return await parts.leftovers.look()
    except (TimeoutError, KocoError):
        return None


def _seen(caller: Caller, releases: list[Release]) -> list[Release]:
    """Return the releases with flows that a caller may use, without their other flows."""
    if not caller.flows:
        return releases
    found = []
    for release in filter(lambda each: sees(caller, each), releases):
        reaches = lambda flow: caller.reaches(f"{release.service}/{flow.name}")  # noqa: E731, B023
        declared = tuple(filter(reaches, release.manifest.flows))
        manifest = release.manifest.model_copy(update={"flows": declared})
        flows = tuple(filter(reaches, release.flows))
        found.append(msgspec.structs.replace(release, flows=flows, manifest=manifest))
    return found


async def _draining(parts: Parts, *, shown: set[str]) -> list[Release]:
    """Return the releases of undeployed services that still have executions."""
    pools = parts.supervisor.pools.items()
    keys = sorted(key for key, pool in pools if key[0] not in shown and pool.has_work)
    found = [await parts.store.releases.get(*key) for key in keys]
    # Failed releases were never ready, or are not retired.
    return [release for release in found if release.ready and release.retired]


async def _endpoints(
    parts: Parts, live: list[Release]
) -> tuple[dict[str, str], dict[str, str], str | None]:
    """Return statuses of endpoints by application, drift by service, and why they are unknown.

    The last one is None if Serve has answered, or if there are no endpoints.
    """
    if all(release.app is None for release in live):
        return {}, {}, None
    try:
        async with asyncio.timeout(_SERVE_S):
            statuses = await parts.endpoints.serve.statuses()
            return statuses, await parts.deployer.drift.look(), None
    except TimeoutError:
        why = f"Ray's dashboard did not answer within {_SERVE_S:g} s"
    except KocoError as exc:
        why = exc.message
    # Shown as unknown, because the status must work when Serve does not. It is not drift, which a
    # deploy would repair.
    return {}, {}, f"its endpoint could not be checked: {why}"


def _service(
    parts: Parts,
    release: Release,
    endpoints: dict[str, str],
    unplaced: dict[str, str],
    drift: dict[str, str],
    *,
    unseen: str | None,
) -> ServiceStatus:
    pool = parts.supervisor.pools.get((release.service, release.number))
    trouble = (
        parts.deployer.troubles.get(release.service)
        or (pool.trouble if pool else None)
        or unplaced.get(release.service)
    )
    name = name_of(release.service, release.number)
    return ServiceStatus(
        name=release.service,
        release=release.number,
        status=_status(release, trouble),
        trouble=trouble or (unseen if release.app is not None else None),
        flows=[flow.name for flow in release.known_flows],
        load=_load(parts, release),
        schedule=_schedule(parts, release),
        runners=len(pool.runners) if pool else 0,
        endpoint=None if release.app is None else endpoints.get(name, "unknown").lower(),
        drift=drift.get(release.service),
    )


def _status(
    release: Release, trouble: str | None
) -> Literal["live", "failing", "draining", "failed", "starting"]:
    if release.status == "starting":
        return "starting"
    if release.has_closed:
        return "failed"
    if trouble:
        return "failing"
    return "live" if release.status == "live" else "draining"


def _load(parts: Parts, release: Release) -> list[FlowLoad]:
    """Return the load of each flow that has executions or limits."""
    counts, found = parts.supervisor.load, []
    for flow in release.flows:
        name = f"{release.service}/{flow.name}"
        limits = parts.supervisor.limits(release, flow.name)
        running, waiting = counts.running[name], counts.waiting[name]
        if running or waiting or limits.running is not None or limits.queue is not None:
            load = FlowLoad(flow.name, running, waiting, limits.running, limits.queue)
            found.append(load)
    return found


def _schedule(parts: Parts, release: Release) -> list[FlowSchedule]:
    """Return the schedules of a service, each with its flow."""
    return [
        FlowSchedule(flow=flow.name, **msgspec.structs.asdict(each))
        for flow in release.flows
        for each in parts.schedules.of(f"{release.service}/{flow.name}")
    ]


ROUTES = (show_status,)
