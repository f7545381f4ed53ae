"""Bundles: taken from those who deploy, given to the nodes that run them."""

from typing import Any

from litestar import Request, get, head, put
from litestar.datastructures import State
from litestar.response import File

from koco.api.access import requires


@head("/v1/bundles/{sha256:str}", guards=[requires("deploy")])
async def has_bundle(state: State, sha256: str) -> None:
    """Say whether a bundle is there already."""
    state.parts.bundles.path(sha256)


@put(
    "/v1/bundles/{sha256:str}",
    status_code=201,
    request_max_body_size=None,
    guards=[requires("deploy")],
)
async def put_bundle(request: Request[str, Any, State], sha256: str) -> dict[str, Any]:
    """Take a bundle; it counts once all of it is on disk and has that hash."""
    size = await request.app.state.parts.bundles.receive(sha256, request.stream())
    return {"sha256": sha256, "size_bytes": size}


@get("/bundles/{signature:str}/{name:str}")
async def fetch_bundle(state: State, signature: str, name: str) -> File:
    """Give a bundle to a node, which has no key but knows the signed URL."""
    path = state.parts.bundles.signed_path(signature, name.removesuffix(".zip"))
    return File(path, media_type="application/zip", filename=name)


ROUTES = (has_bundle, put_bundle, fetch_bundle)
