"""A service's own endpoint: requests to it are signed and forwarded here.

If its manifest opens a path to the public, everybody may use it, as an anonymous caller: keys are
ignored, and the signature has no name.
"""

from typing import Any
from urllib.parse import unquote

from litestar import Response, route
from litestar.enums import HttpMethod

from koco.api.http.auth import Connection, require_service, requires_unless
from koco.api.http.request import Request
from koco.api.http.streaming import RevocableStream
from koco.api.middleware import idempotency
from koco.api.openapi.annotations import Answer, Body
from koco.api.routes.flows import LAUNCHED, launch_entry
from koco.control.container import Parts
from koco.control.services import endpoint_client
from koco.errors import (
    ConflictError,
    EndpointError,
    InputsError,
    KocoError,
    NotFoundError,
    TimedOutError,
    UnauthorizedError,
)
from koco.sdk.endpoint import public

_PATHS = ["/v1/services/{service:str}/app", "/v1/services/{service:str}/app/{path:path}"]
_ANSWERS = {"default": Answer(media={"*/*": bytes}, about="the answer of the service's endpoint")}
_ERRORS = [ConflictError, EndpointError, TimedOutError]


def _is_public(connection: Connection) -> bool:
    parts: Parts = connection.app.state.parts
    service, path = connection.path_params["service"], _path(connection)
    try:
        named = parts.catalog.release(service).manifest.endpoint.public
    except KocoError:  # only callers with a key learn why
        return False
    # A deploy refuses public paths with flows. This check makes sure.
    return public.is_public(path, named) and parts.catalog.at(service, path) is None


@route(
    _PATHS,
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[requires_unless(_is_public, "read")],
    answers=_ANSWERS,
    errors=_ERRORS,
)
async def look(request: Request, service: str) -> Response[Any]:
    """Forward a request that only reads; at a flow's path, this describes the flow."""
    return await _forward(request, service, _path(request))


@route(
    _PATHS,
    http_method=[HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE],
    status_code=200,
    guards=[requires_unless(_is_public, "launch")],
    body=Body(media={"*/*": bytes}, required=False),
    headers=[idempotency.HEADER, "Prefer"],
    answers={**_ANSWERS, **LAUNCHED},
    errors=[*_ERRORS, InputsError],
)
async def act(request: Request, service: str) -> Response[Any]:
    """Forward a request that changes something; a POST at a flow's path launches the flow."""
    path = _path(request)
    entry = request.parts.catalog.at(service, path)
    if request.method == HttpMethod.POST and entry is not None:
        if not request.auth.scopes:
            # The path was public until a moment ago, when a release went live.
            raise UnauthorizedError("a launch needs a key")
        return await launch_entry(request, entry)
    return await _forward(request, service, path)


def _path(request: Connection) -> str:
    # As it was sent: litestar's own has lost a slash at its end, which can matter to an app.
    sent = request.scope["raw_path"].decode("latin-1")
    return unquote("/" + "/".join(sent.split("/")[5:]))


async def _forward(request: Request, service: str, path: str) -> Response[Any]:
    require_service(request.auth, service)
    parts = request.parts
    release = parts.catalog.release(service)
    if release.app is None:
        raise NotFoundError(
            f"the service {service!r} has no endpoint of its own",
            hint="its flows are launched at /v1/flows/…",
        )
    forwarded = endpoint_client.Request(
        request.method,
        path,
        query=request.scope["query_string"].decode("latin-1"),
        body=await request.octets(),
        headers=endpoint_client.join_headers(request.headers.multi_items()),
    )
    # Counted as an open stream, because an endpoint that does not answer keeps its caller waiting.
    with parts.streams.open(request.auth):
        answer = await parts.endpoints.pass_through(release, forwarded, user=request.auth.name)
    # Without a type it is bytes; litestar would say JSON. As a header, because litestar adds a
    # second charset to a text media type.
    headers = {"content-type": "application/octet-stream", **answer.headers}
    return RevocableStream(request, answer.body, status_code=answer.status, headers=headers)


ROUTES = (look, act)
