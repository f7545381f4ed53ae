"""A service's own endpoint: requests to it are signed and forwarded here.

If its manifest opens a path to the public, everybody may use it, as an anonymous caller: keys are
ignored, and the signature has no name.
"""

from typing import Any
from urllib.parse import unquote

from litestar import Response, route
from litestar.enums import HttpMethod

from koco.api.http import audit, auth, cookies
from koco.api.http.auth import Connection, require_service, requires_unless
from koco.api.http.request import Request
from koco.api.http.streaming import RevocableStream
from koco.api.middleware import idempotency
from koco.api.openapi.annotations import Answer, Body
from koco.api.routes.flows import LAUNCHED, launch_entry
from koco.control.access.caller import NOBODY, Caller
from koco.control.container import Parts
from koco.control.services import endpoint_client
from koco.control.services.catalog import Entry
from koco.control.services.endpoint_client import Call
from koco.control.services.endpoint_headers import join_headers
from koco.control.services.endpoint_messages import Order
from koco.control.tracing import arrived
from koco.errors import (
    ConflictError,
    EndpointError,
    InputsError,
    KocoError,
    NotAllowedError,
    NotFoundError,
    TimedOutError,
    UnauthorizedError,
)
from koco.kodosumi.const import KODOSUMI_LAUNCH
from koco.sdk.endpoint import public

_PATHS = ["/v1/services/{service:str}/app", "/v1/services/{service:str}/app/{path:path}"]
_ANSWERS = {"default": Answer(media={"*/*": bytes}, about="the answer of the service's endpoint")}
_DONE = Answer(media={"*/*": bytes}, about="launched before, or the answer of the endpoint")
_ERRORS = [ConflictError, EndpointError, TimedOutError]


async def _open_to(connection: Connection) -> Caller | None:
    """Return nobody if a path is public."""
    parts: Parts = connection.app.state.parts
    service, path = connection.path_params["service"], _path(connection)
    try:
        named = parts.catalog.release(service).manifest.endpoint.public
    except KocoError:  # only callers with a key learn why
        return None
    # A deploy refuses public paths with flows. This check makes sure.
    is_open = public.is_public(path, named) and parts.catalog.at(service, path) is None
    return NOBODY if is_open else None


@route(
    _PATHS,
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    guards=[requires_unless(_open_to, "read")],
    answers=_ANSWERS,
    errors=_ERRORS,
)
async def look(request: Request, service: str) -> Response[Any]:
    """Forward a request that only reads; at a flow's path, this describes the flow."""
    return await forward(request, service, _path(request))


@route(
    _PATHS,
    http_method=[HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE],
    status_code=200,
    guards=[requires_unless(_open_to, "launch")],
    body=Body(media={"*/*": bytes}, required=False),
    headers=[idempotency.HEADER, "Prefer", *arrived.HEADERS],
    answers={**_ANSWERS, **LAUNCHED, 200: _DONE},
    errors=[*_ERRORS, InputsError],
)
async def act(request: Request, service: str) -> Response[Any]:
    """Forward a request that changes something; a POST at a flow's path launches the flow."""
    path = _path(request)
    entry = request.parts.catalog.at(service, path)
    if request.method == HttpMethod.POST and entry is not None and not entry.flow.page:
        if not request.auth.scopes:
            # The path was public until a moment ago, when a release went live.
            raise UnauthorizedError("a launch needs a key")
        return await launch_entry(request, entry, call=call_of(request, entry, path))
    return await forward(request, service, path)


def _path(request: Connection) -> str:
    # As it was sent: litestar's own has lost a slash at its end, which can matter to an app.
    sent = request.scope["raw_path"].decode("latin-1")
    return unquote("/" + "/".join(sent.split("/")[5:]))


async def forward(request: Request, service: str, path: str) -> Response[Any]:
    """Forward a request to a service's endpoint, and return its answer.

    If the answer is the launch of a page in Kodosumi's dialect, carry it out: `{"fid": …}`.
    """
    _require(request, service, path)
    parts = request.parts
    release = parts.catalog.release(service)
    if release.app is None:
        raise NotFoundError(
            f"the service {service!r} has no endpoint of its own",
            hint="its flows are launched at /v1/flows/…",
        )
    call = _to_call(request, path)
    forwarded = endpoint_client.Request(
        request.method, path, call.query, await request.octets(), call.headers
    )
    # Counted as an open stream, because an endpoint that does not answer keeps its caller waiting.
    with parts.streams.open(request.auth):
        answer = await parts.endpoints.pass_through(release, forwarded, user=request.auth.name)
    if isinstance(answer, Order):
        return await _launch_ordered(request, service, forwarded, answer)
    # Without a type it is bytes; litestar would say JSON. As a header, because litestar adds a
    # second charset to a text media type.
    headers = {"content-type": "application/octet-stream", **answer.headers}
    return RevocableStream(request, answer.body, status_code=answer.status, headers=headers)


def _require(request: Request, service: str, path: str) -> None:
    """Refuse a caller who is limited to flows of other paths.

    A path with parameters is no flow's own, because another route may take the request.
    """
    entry = request.parts.catalog.at(service, path)
    is_flows = entry is not None and entry.path == path
    is_flows &= request.method in cookies.SAFE or request.method == HttpMethod.POST
    if entry is not None and is_flows:
        auth.require_flow(request.auth, entry.name)
    else:
        require_service(request.auth, service)


def call_of(request: Request, entry: Entry, path: str) -> Call | None:
    """Return the handler's view of a launch: in Kodosumi's dialect, the whole request."""
    return _to_call(request, path) if entry.flow.dialect else None


def _to_call(request: Request, path: str) -> Call:
    query = request.scope["query_string"].decode("latin-1")
    return Call(path, query, join_headers(request.headers.multi_items()))


async def _launch_ordered(
    request: Request, service: str, forwarded: endpoint_client.Request, order: Order
) -> Response[dict[str, str]]:
    """Carry out the order of an author's page, with the rights of its caller.

    Raises:
        NotAllowedError: the caller may not launch, or a browser may not have meant it.
    """
    caller = request.auth
    if not caller.may("launch"):
        raise NotAllowedError(
            f"{forwarded.path} of {service} launches a flow, and that needs the scope 'launch'",
            hint=f"{caller.name!r} has: {', '.join(sorted(caller.scopes)) or 'no key'}",
        )
    if request.method in cookies.SAFE and cookies.is_alone(request):
        raise NotAllowedError(
            f"a {request.method} with a cookie alone may not launch: any page can cause it",
            hint="send the token as `Authorization: Bearer`, or let the page use POST",
        )
    entry = request.parts.catalog.ordered(service, forwarded.path, order.flow)
    if entry is None:
        raise NotFoundError(f"the service {service!r} has no flow that this launch belongs to")
    auth.require_flow(caller, entry.name)
    what = "\n".join((request.method, service, forwarded.path, forwarded.query))
    execution, _ = await request.parts.launches.place(
        entry,
        order,
        user=caller.name,
        asked=what.encode("utf-8", "surrogateescape") + b"\n" + forwarded.body,
        key=request.headers.get("idempotency-key"),
        about={"request": caller.request},
        audited=audit.launch_entry(request),
        asker=request.asker,
    )
    headers = {KODOSUMI_LAUNCH: execution.fid, "Location": f"/v1/executions/{execution.fid}"}
    return Response({"fid": execution.fid}, headers=headers, status_code=200)


ROUTES = (look, act)
