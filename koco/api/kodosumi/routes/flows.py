"""Flows: `/flow` lists them, `/-/…` shows and launches them, and so does `/inputs/-/…`."""

from typing import Any

import msgspec
from litestar import Response, get, post

from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.kodosumi import bodies, inputs
from koco.api.kodosumi.credentials import requires
from koco.api.kodosumi.shapes import elements, flow_urls
from koco.api.routes.deploy import apps
from koco.api.routes.flows import accept, count_tags, visible
from koco.control.services.catalog import Entry
from koco.control.services.endpoint_client import Forwarded as Answer
from koco.control.services.endpoint_client import Request as Forwarded
from koco.control.services.endpoint_messages import Order
from koco.errors import GLOBAL_FIELD, EndpointError, InputsError, NotFoundError, UsageError
from koco.manifest.descriptions import KODOSUMI

#: The largest description of a flow by its own endpoint (bytes).
_SHOWN_BYTES = 4 * 1024 * 1024
_LARGEST_PAGE = 1000


class Flow(msgspec.Struct):
    """A flow in Kodosumi's list."""

    uid: str
    method: str
    url: str
    source: str
    summary: str | None
    description: str | None
    deprecated: bool
    author: str | None
    organization: str | None
    tags: list[str]
    base_url: str

    @classmethod
    def render(cls, entry: Entry) -> "Flow":
        """Return a flow as Kodosumi's list shows it."""
        url, flow = flow_urls.url_of(entry), entry.flow
        return cls(
            uid=flow_urls.uid_of(url),
            method="GET",
            url=url,
            source=f"/v1/flows/{entry.name}",
            summary=flow.summary or flow.name,
            description=flow.description or None,
            deprecated=bool(flow.more.get("deprecated")),
            author=flow.author or None,
            organization=flow.organization or None,
            tags=sorted(flow.tags),
            base_url=url,
        )


class Flows(msgspec.Struct):
    """A page of flows. `offset` is the uid of its last one, null on the last page."""

    items: list[Flow]
    offset: str | None


@get("/flow", guards=[requires("read")])
async def list_flows(
    request: Request, q: str | None = None, pp: int = 10, offset: str | None = None
) -> Flows:
    """List the flows that can be launched, by summary. `q` occurs in their authors' texts."""
    if not 1 <= pp <= _LARGEST_PAGE:
        raise UsageError(f"pp must be from 1 to {_LARGEST_PAGE}, got {pp}")
    found = [Flow.render(each) for each in visible(request)]
    found = sorted(found, key=lambda each: (each.summary or "", each.url))
    found = [each for each in found if q is None or q.lower() in _text(each)]
    start = next((at + 1 for at, each in enumerate(found) if each.uid == offset), 0)
    items = found[start : start + pp]
    return Flows(items, items[-1].uid if items and start + pp < len(found) else None)


@get("/flow/tags", guards=[requires("read")])
async def list_tags(request: Request) -> dict[str, int]:
    """Return how many flows have each tag."""
    return dict(count_tags(request))


@get("/-/{path:path}", guards=[requires("read")])
async def show_flow(request: Request, path: str) -> Response[Any]:
    """Show a flow and the elements of its form."""
    return await show(request, path)


async def show(request: Request, path: str) -> Response[Any]:
    """Return a flow's metadata and elements, or the page that it is."""
    entry, place = _find(request, path)
    if entry.flow.page:
        return await apps.forward(request, entry.service, place)
    return Response(await _shown(request, entry, place))


@post("/-/{path:path}", status_code=200, guards=[requires("launch")])
async def launch(request: Request, path: str) -> Response[Any]:
    """Launch a flow; the answer has the fid as `result`, or the `errors` of the inputs."""
    return await launch_at(request, path)


async def launch_at(request: Request, path: str) -> Response[Any]:
    """Launch the flow at a path with the inputs in a request's body."""
    entry, place = _find(request, path)
    if entry.flow.page:
        return await apps.forward(request, entry.service, place)
    shown = (await _shown(request, entry, place))["elements"]
    try:
        given = await inputs.translate(request, entry, await bodies.read_object(request))
        call = apps.call_of(request, entry, place) if entry.path is not None else None
        execution, _ = await accept(request, entry, given, call=call)
    except InputsError as exc:
        return Response({"errors": errors_of(exc), "elements": shown})
    return Response({"result": execution.fid, "elements": shown})


def errors_of(error: InputsError) -> dict[str, list[str]]:
    """Return the messages of refused inputs, by field; those about all stand at `_global_`."""
    return {**error.errors, GLOBAL_FIELD: list(error.errors.get(GLOBAL_FIELD, []))}


def _text(flow: Flow) -> str:
    about = (flow.summary, flow.description, flow.author, flow.organization, *flow.tags)
    return "".join(each for each in about if each).lower()


def _find(request: Request, path: str) -> tuple[Entry, str]:
    """Return the flow at a path, and the path in its service.

    Raises:
        NotFoundError: there is none.
        NotAllowedError: the caller may not use it.
    """
    catalog, named = request.parts.catalog, flow_urls.split(path)
    found = None
    if named is not None:
        service, place = named
        entries = [each for each in catalog.entries() if each.service == service]
        fits = [each for each in entries if flow_urls.is_at(each, place)]
        found = fits[0] if fits else catalog.at(service, place)
        if found is None and len(entries) == 1 and place == "/":
            found = entries[0]  # for scripts that know the prefix of a service alone
            place = found.path or place
    if found is None or named is None:
        raise NotFoundError(
            f"there is no flow at /-{path[:200]}", hint="GET /flow lists the flows with their URLs"
        )
    auth.require_flow(request.auth, found.name)
    is_own = found.path is not None and flow_urls.is_at(found, place)
    return catalog.find(found.name), (found.path or place) if is_own else place


async def _shown(request: Request, entry: Entry, place: str) -> dict[str, Any]:
    """Return a flow's metadata and elements. An endpoint in Kodosumi's dialect gives its own."""
    if entry.flow.dialect != KODOSUMI or entry.path is None:
        return _describe(entry)
    if place != entry.path:
        return await _ask(request, entry, place)
    known: dict[str, tuple[int, dict[str, Any]]]
    known = request.app.state.setdefault("kodosumi_forms", {})
    if entry.name not in known or known[entry.name][0] != entry.release:
        known[entry.name] = (entry.release, await _ask(request, entry, place))
    return known[entry.name][1]


async def _ask(request: Request, entry: Entry, place: str) -> dict[str, Any]:
    """Return a flow's metadata and elements as its own endpoint shows them."""
    release = await request.parts.store.releases.get(entry.service, entry.release)
    with request.parts.streams.open(request.auth):
        answer = await request.parts.endpoints.pass_through(
            release, Forwarded("GET", place), user=request.auth.name
        )
        body = b"" if isinstance(answer, Order) else await _read(answer)
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        found = {}
    return found if isinstance(found.get("elements"), list) else _describe(entry)


async def _read(answer: Answer) -> bytes:
    """Return the body of an endpoint's answer.

    Raises:
        EndpointError: it is too large.
    """
    found = bytearray()
    body: Any = answer.body
    try:
        async for piece in body:
            found += piece
            if len(found) > _SHOWN_BYTES:
                raise EndpointError(f"the endpoint shows a flow in more than {_SHOWN_BYTES} bytes")
    finally:
        await body.aclose()
    return bytes(found)


def _describe(entry: Entry) -> dict[str, Any]:
    flow = entry.flow
    extra = {"x-author": flow.author, "x-organization": flow.organization}
    extra["x-version"] = flow.version
    annotated = {"x-kodosumi": True, **{name: text for name, text in extra.items() if text}}
    return {
        **flow.more,
        "summary": flow.summary or flow.name,
        "description": flow.description or None,
        "tags": list(flow.tags),
        "openapi_extra": annotated,
        "elements": elements.translate(flow.form),
    }


ROUTES = (launch, list_flows, list_tags, show_flow)
