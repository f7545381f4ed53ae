"""`/health` for Kodosumi's clients: the members of both APIs in one answer."""

import sys
from typing import Any

import msgspec
from litestar import Response, get

from koco import __version__
from koco.api.http.request import Request
from koco.api.kodosumi import credentials
from koco.api.routes import doctor


@get("/health", guards=[credentials.requires("read")])
async def health(request: Request) -> Response[dict[str, Any]]:
    """Show whether executions can run, and the cluster's nodes; 503 if those of some cannot."""
    given = await doctor.check_health(request)
    cluster = await request.parts.cluster.describe()
    found = {
        **msgspec.to_builtins(given.content),
        "kodosumi_version": __version__,
        "python_version": sys.version,
        "ray_version": cluster.version,
        "ray_status": [
            {
                "NodeID": node.id,
                "Alive": node.is_alive,
                "NodeManagerAddress": node.address,
                "Resources": node.resources,
                "Labels": node.labels,
            }
            for node in cluster.nodes
        ],
        "spooler_status": {"status": "running"},
    }
    return Response(found, status_code=given.status_code or 200, headers=given.headers)


ROUTES = (health,)
