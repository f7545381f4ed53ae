"""How the control plane is."""

import asyncio
import os
from typing import Any

from litestar import get
from litestar.datastructures import State

from koco import __version__
from koco.api.access import requires
from koco.cluster.serve import name_of
from koco.control.parts import Parts
from koco.errors import KocoError
from koco.store.model import Release

#: How long Serve may take to say how its applications are (seconds).
_SERVE_S = 2.0


@get("/v1/status", guards=[requires("read")])
async def show_status(state: State) -> dict[str, Any]:
    """Show what runs: control plane, Ray, store, services, executions by status."""
    parts: Parts = state.parts
    ray = await parts.cluster.describe()
    live = await parts.store.releases("live")
    endpoints = await _endpoints(parts, live)
    return {
        "control_plane": {
            "pid": os.getpid(),
            "version": __version__,
            "url": parts.url,
            "started": parts.started,
            "restarts": ray.pop("restarts"),
        },
        "ray": ray,
        "store": {"path": parts.store_path, "size_bytes": await parts.store.size_bytes()},
        "services": [_service(parts, release, endpoints) for release in live],
        "executions": await parts.store.tallies(),
    }


async def _endpoints(parts: Parts, live: list[Release]) -> dict[str, str]:
    """Return what Serve says of services' own endpoints; nothing is asked where there are none."""
    if all(release.app is None for release in live):
        return {}
    try:
        return await asyncio.wait_for(parts.endpoints.serve.statuses(), _SERVE_S)
    except (KocoError, TimeoutError):
        return {}  # shown as unknown: a status must not fail with what it is to tell of


def _service(parts: Parts, release: Release, endpoints: dict[str, str]) -> dict[str, Any]:
    pool = parts.supervisor.pools.get((release.service, release.number))
    trouble = (pool.trouble if pool else None) or parts.deployer.troubles.get(release.service)
    name = name_of(release.service, release.number)
    return {
        "name": release.service,
        "release": release.number,
        "status": "failing" if trouble else "live",
        "trouble": trouble,
        "flows": [flow["name"] for flow in release.flows],
        "runners": len(pool.runners) if pool else 0,
        "endpoint": None if release.app is None else endpoints.get(name, "unknown").lower(),
    }


ROUTES = (show_status,)
