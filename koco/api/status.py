"""How the control plane is."""

import os
from typing import Any

from litestar import Response, get
from litestar.datastructures import State

from koco import __version__
from koco.api.access import requires
from koco.control.parts import Parts


@get("/health")
async def health(state: State) -> Response[dict[str, str]]:
    """Say whether executions can run; 503 where a service has no runner and gets none."""
    parts: Parts = state.parts
    troubled = any(pool.trouble for pool in parts.supervisor.pools.values())
    status = "degraded" if troubled else "ok"
    return Response({"status": status}, status_code=503 if troubled else 200)


@get("/v1/status", guards=[requires("read")])
async def show_status(state: State) -> dict[str, Any]:
    """Show what runs: control plane, Ray, store, services, executions by status."""
    parts: Parts = state.parts
    ray = await parts.cluster.describe()
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
        "services": [_service(parts, release) for release in await parts.store.releases("live")],
        "executions": await parts.store.tallies(),
    }


def _service(parts: Parts, release: Any) -> dict[str, Any]:
    pool = parts.supervisor.pools.get((release.service, release.number))
    return {
        "name": release.service,
        "release": release.number,
        "status": "failing" if pool and pool.trouble else "live",
        "trouble": pool.trouble if pool else None,
        "flows": [flow["name"] for flow in release.flows],
        "runners": len(pool.runners) if pool else 0,
    }


ROUTES = (health, show_status)
