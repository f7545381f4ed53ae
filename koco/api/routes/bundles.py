"""Bundles: taken from those who deploy, given to the nodes that run them."""

from typing import Any

from litestar import Request, Response, get, head, patch
from litestar.datastructures import State
from litestar.response import File

from koco.api.http import upload_headers
from koco.api.http.auth import requires
from koco.api.openapi.annotations import Answer
from koco.control.access.caller import Caller
from koco.control.services.bundles import Bundles


@head("/v1/bundles/{sha256:str}", guards=[requires("deploy")], answers=upload_headers.SHOWN)
async def show_bundle(request: Request[Any, Caller, State], sha256: str) -> Response[None]:
    """Say how much of a bundle is here, and whether that is all of it."""
    bundles: Bundles = request.app.state.parts.bundles
    offset, is_complete = await bundles.state(sha256, by=request.auth.uploader)
    return upload_headers.answer(offset, is_complete=is_complete, status_code=200)


@patch(
    "/v1/bundles/{sha256:str}",
    status_code=204,
    request_max_body_size=None,
    guards=[requires("deploy")],
    **upload_headers.TAKEN,
)
async def upload_bundle(request: Request[Any, Caller, State], sha256: str) -> Response[None]:
    """Append to a bundle; it counts once all of it is on disk and has that hash."""
    offset, length = upload_headers.place(request)
    bundles: Bundles = request.app.state.parts.bundles
    arrived = await bundles.receive(
        sha256, offset=offset, length=length, body=request.stream(), by=request.auth.uploader
    )
    return upload_headers.answer(arrived, is_complete=arrived == length, status_code=204)


@get(
    "/bundles/{signature:str}/{name:str}",
    answers={200: Answer(media={"application/zip": bytes}, about="the bundle")},
)
async def fetch_bundle(state: State, signature: str, name: str) -> File:
    """Give a bundle to a node, which has no key but knows the signed URL."""
    path = state.parts.bundles.signed_path(signature, name.removesuffix(".zip"))
    return File(path, media_type="application/zip", filename=name)


ROUTES = (show_bundle, upload_bundle, fetch_bundle)
