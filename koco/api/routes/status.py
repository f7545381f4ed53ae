"""How the control plane is."""

import asyncio
import os
from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State

from koco import __version__
from koco.api.http.auth import requires, sees
from koco.api.openapi.schemas import deployed
from koco.cluster.serve import name_of
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.health import problems
from koco.control.runners.concurrency import limits_of
from koco.errors import KocoError
from koco.store.model import EVERYTHING, Release

#: How long Serve may take to say how its applications are (seconds).
_SERVE_S = 2.0


@get("/v1/status", guards=[requires("read")], answers={200: deployed.Overview})
async def show_status(request: Request[Any, Caller, State]) -> dict[str, Any]:
    """Show what runs: control plane, Ray, store, services, executions by status.

    Of services, and of executions, those that the caller may see; of executions that are not
    everybody's, only such as have not ended are counted.
    """
    parts: Parts = request.app.state.parts
    ray = await parts.cluster.describe()
    present = _seen(request.auth, await parts.store.releases.present())
    live = [release for release in present if release.status == "live"]
    closed = [release for release in present if release.has_closed]
    shown = {release.service for release in (*live, *closed)}
    draining = _seen(request.auth, await _draining(parts, shown=shown))
    endpoints, drift, unseen = await _endpoints(parts, live)
    unplaced = await problems.of_runners(parts, live)
    return {
        "control_plane": {
            "pid": os.getpid(),
            "version": __version__,
            "code": parts.code,
            "url": parts.url,
            "started": parts.started,
            "restarts": ray.pop("restarts"),
        },
        "ray": ray,
        "store": {"path": parts.store_path, "size_bytes": await parts.store.engine.size_bytes()},
        "services": [
            _service(parts, release, endpoints, unplaced, unseen=unseen)
            | {"drift": drift.get(release.service)}
            for release in (*live, *closed, *draining)
        ],
        "settings": msgspec.to_builtins(parts.settings),
        "executions": await parts.store.executions.count_by_status(request.auth.sight),
        "left": await _left(parts, request.auth),
    }


async def _left(parts: Parts, caller: Caller) -> list[dict[str, Any]] | None:
    """Return what executions have left in Ray, None where that could not be looked for."""
    if caller.sight != EVERYTHING:
        return []  # whose it is cannot always be told
    try:
        async with asyncio.timeout(_SERVE_S):
            found = await parts.leftovers.look()
    except (TimeoutError, KocoError):
        return None
    return [msgspec.to_builtins(each) for each in found]


def _seen(caller: Caller, releases: list[Release]) -> list[Release]:
    """Return the releases that have flows of a caller's, without their other flows."""
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
    """Return the releases of undeployed services in which executions run or wait still."""
    pools = parts.supervisor.pools.items()
    keys = sorted(key for key, pool in pools if key[0] not in shown and pool.has_work)
    found = [await parts.store.releases.get(*key) for key in keys]
    # One that was broken has failed, and has its time.
    return [release for release in found if release.ready and release.retired]


async def _endpoints(
    parts: Parts, live: list[Release]
) -> tuple[dict[str, str], dict[str, str], str | None]:
    """Return what Serve says of services' own endpoints, what others made of them, and why not.

    The first by application, the second by service; the third is None where Serve has answered.
    Nothing is asked where there are none.
    """
    if all(release.app is None for release in live):
        return {}, {}, None
    try:
        async with asyncio.timeout(_SERVE_S):
            statuses = await parts.endpoints.serve.statuses()
            return statuses, await parts.deployer.drift.look(), None
    except TimeoutError:
        said = f"Ray's dashboard did not answer within {_SERVE_S:g} s"
    except KocoError as exc:
        said = exc.message
    # Shown as unknown: a status must not fail with what it is to tell of. And it is no drift,
    # which a deploy puts back.
    return {}, {}, f"its endpoint could not be looked at: {said}"


def _service(
    parts: Parts,
    release: Release,
    endpoints: dict[str, str],
    unplaced: dict[str, str],
    *,
    unseen: str | None,
) -> dict[str, Any]:
    pool = parts.supervisor.pools.get((release.service, release.number))
    trouble = (
        parts.deployer.troubles.get(release.service)
        or (pool.trouble if pool else None)
        or unplaced.get(release.service)
    )
    name = name_of(release.service, release.number)
    status = "failing" if trouble else "draining" if release.status != "live" else "live"
    return {
        "name": release.service,
        "release": release.number,
        "status": "failed" if release.has_closed else status,
        "trouble": trouble or (unseen if release.app is not None else None),
        "flows": [flow.name for flow in release.known_flows],
        "load": _load(parts, release),
        "schedule": _schedule(parts, release),
        "runners": len(pool.runners) if pool else 0,
        "endpoint": None if release.app is None else endpoints.get(name, "unknown").lower(),
    }


def _load(parts: Parts, release: Release) -> list[dict[str, Any]]:
    """Return what runs and waits of each flow that does, or that is limited."""
    load, found = parts.supervisor.load, []
    for flow in release.flows:
        name, limits = f"{release.service}/{flow.name}", limits_of(release.manifest, flow.name)
        running, waiting = load.running[name], load.waiting[name]
        if running or waiting or limits.running is not None or limits.queue is not None:
            most = {"max_running": limits.running, "max_queue": limits.queue}
            found.append({"flow": flow.name, "running": running, "waiting": waiting, **most})
    return found


def _schedule(parts: Parts, release: Release) -> list[dict[str, Any]]:
    """Return the schedules of a service, each with its flow."""
    flows = [(flow.name, f"{release.service}/{flow.name}") for flow in release.flows]
    return [{"flow": name, **each} for name, full in flows for each in parts.schedules.of(full)]


ROUTES = (show_status,)
