"""Bundles: uploaded by a deploy, fetched by the nodes that run them."""

from litestar import Response, get, head, patch
from litestar.response import File

from koco.api.http import upload_headers
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi.annotations import Answer


@head("/v1/bundles/{sha256:str}", guards=[requires("deploy")], answers=upload_headers.SHOWN)
async def show_bundle(request: Request, sha256: str) -> Response[None]:
    """Show how much of a bundle has arrived, and whether that is all of it."""
    offset, is_complete = await request.parts.bundles.state(sha256, by=request.auth.owner)
    return upload_headers.answer(offset, is_complete=is_complete, status_code=200)


@patch(
    "/v1/bundles/{sha256:str}",
    status_code=204,
    request_max_body_size=None,
    guards=[requires("deploy")],
    **upload_headers.TAKEN,
)
async def upload_bundle(request: Request, sha256: str) -> Response[None]:
    """Append to a bundle; it can be used once all of it is on disk and has that hash."""
    offset, length = upload_headers.read(request)
    arrived = await request.parts.bundles.receive(
        sha256, offset=offset, length=length, body=request.stream(), by=request.auth.owner
    )
    return upload_headers.answer(arrived, is_complete=arrived == length, status_code=204)


@get(
    "/bundles/{signature:str}/{name:str}",
    answers={200: Answer(media={"application/zip": bytes}, about="the bundle")},
)
async def fetch_bundle(request: Request, signature: str, name: str) -> Response[bytes] | File:
    """Return a bundle to a node, which has no key but knows the signed URL."""
    bundles, stem = request.parts.bundles, name.removesuffix(".zip")
    if "." not in stem:
        path = await bundles.signed_file(signature, stem)
        return File(path, media_type="application/zip", filename=name)
    found = await bundles.of_release(signature, stem)
    if isinstance(found, bytes):
        return Response(found, media_type="application/zip")
    return File(found, media_type="application/zip", filename=name)


ROUTES = (show_bundle, upload_bundle, fetch_bundle)
