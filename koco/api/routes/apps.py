"""A service's own endpoint: what is asked of it goes through here, and is forwarded signed.

Where its manifest opens a path to the public, anybody may ask, and is nobody: no key is looked
at, and nobody's name is signed.
"""

from typing import Any
from urllib.parse import unquote

from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod

from koco.api.http.auth import Connection, require_service, requires_unless
from koco.api.http.streaming import Ending
from koco.api.middleware import body_limit, idempotency
from koco.api.openapi.annotations import Answer, Body
from koco.api.routes.flows import LAUNCHED, launched
from koco.control.access.caller import Caller
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
#: Whatever the service's own code answers.
_ANSWERS = {"default": Answer(media={"*/*": bytes}, about="what the service's endpoint answers")}
_ERRORS = [ConflictError, EndpointError, TimedOutError]


def _is_public(connection: Connection) -> bool:
    parts: Parts = connection.app.state.parts
    service, path = connection.path_params["service"], _path(connection)
    try:
        named = parts.catalog.release(service).manifest.endpoint.public
    except KocoError:  # told to callers only
        return False
    # Deploying has seen to it that no flow is among them; this is the door all the same.
    return public.is_public(path, named) and parts.catalog.at(service, path) is None


@route(
    _PATHS,
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[requires_unless(_is_public, "read")],
    answers=_ANSWERS,
    errors=_ERRORS,
)
async def look(request: Request[Any, Caller, State], service: str) -> Response[Any]:
    """Forward what only reads; at a flow's path, this describes the flow."""
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
async def act(request: Request[Any, Caller, State], service: str) -> Response[Any]:
    """Forward what changes something; a POST at a flow's path launches the flow."""
    parts: Parts = request.app.state.parts
    path = _path(request)
    entry = parts.catalog.at(service, path)
    if request.method == HttpMethod.POST and entry is not None:
        if not request.auth.scopes:
            # A release that went live a moment ago has made a flow of what was public.
            raise UnauthorizedError("a launch needs a key")
        return await launched(request, entry)
    return await _forward(request, service, path)


def _path(request: Connection) -> str:
    # As it was sent: litestar's own has lost a slash at its end, which an app may mind.
    sent = request.scope["raw_path"].decode("latin-1")
    return unquote("/" + "/".join(sent.split("/")[5:]))


async def _forward(request: Request[Any, Caller, State], service: str, path: str) -> Response[Any]:
    require_service(request.auth, service)
    parts: Parts = request.app.state.parts
    release = parts.catalog.release(service)
    if release.app is None:
        raise NotFoundError(
            f"the service {service!r} has no endpoint of its own",
            hint="its flows are launched at /v1/flows/…",
        )
    asked = endpoint_client.Request(
        request.method,
        path,
        query=request.scope["query_string"].decode("latin-1"),
        body=await _octets(request),
        headers=endpoint_client.joined(request.headers.multi_items()),
    )
    # Counted from here on: what does not answer is held by its caller as what never ends is.
    with parts.streams.open(request.auth):
        answer = await parts.endpoints.pass_through(release, asked, user=request.auth.name)
    # Where nothing is said, it is bytes; litestar would say JSON. As a header, for to a media type
    # of text it adds a charset, though there be one.
    headers = {"content-type": "application/octet-stream", **answer.headers}
    return Ending(request, answer.body, status_code=answer.status, headers=headers)


async def _octets(request: Request[Any, Caller, State]) -> bytes:
    assert isinstance(request, body_limit.Request)
    return await request.octets()


ROUTES = (look, act)
