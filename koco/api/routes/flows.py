"""Flows: list and launch them."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Self

import msgspec
from litestar import Response, get, post
from msgspec import UNSET, Meta, UnsetType

from koco.api.http import audit, auth, list_query
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi import shapes
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Shape, text
from koco.api.routes.executions import results
from koco.api.routes.executions.executions import Execution
from koco.api.routes.executions.results import Result
from koco.control.container import Parts
from koco.control.executions.scheduling.schedules import ScheduleState
from koco.control.runners.concurrency import durable_flows
from koco.control.services.catalog import Entry
from koco.control.services.endpoint_client import Call
from koco.control.tracing import arrived
from koco.control.webhooks import orders
from koco.errors import ConflictError, EndpointError, InputsError, TimedOutError, UsageError
from koco.forms import text_schema
from koco.manifest.descriptions import KODOSUMI
from koco.sdk.endpoint import protocol
from koco.store import model, webhook_model
from koco.store.model import Page
from koco.store.webhook_model import Webhook
from koco.trace_context import Trace

#: The longest that a launch waits for its end (seconds).
_LONGEST_WAIT_S = 60
#: The preference, among others, as a number or quoted.
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)', re.IGNORECASE)

#: The preference for the values that a form shows at first.
_PREFILLED = re.compile(r"(?:^|,)\s*prefilled\s*(?=[,;]|$)", re.IGNORECASE)

#: The longest search for flows (characters).
_LONGEST = 1000

_METADATA = ("description", "author", "organization", "version")
_HEADERS = ["Location", "Preference-Applied"]


class FlowLimits(Shape):
    """The limits of a flow. Null means no limit."""

    running: int | None
    queue: int | None
    timeout: float | None
    retries: int
    retry_errors: bool
    backoff: float


class FlowSummary(Shape):
    """A flow that can be launched."""

    name: shapes.Flow
    service: shapes.Service
    entrypoint: Annotated[str, text("hello_app:greet")]
    summary: str | None
    release: shapes.Number
    durable: Annotated[bool, Meta(description="whether its executions survive their processes")]
    limits: FlowLimits
    schedule: list[ScheduleState]
    tags: tuple[str, ...]

    @classmethod
    def render(cls, parts: Parts, entry: Entry, **others: Any) -> Self:
        """Return a flow as answers show it."""
        release = parts.catalog.release(entry.service)
        if release.manifest.schedule:
            parts.leadership.require("it alone knows what its schedules have launched")
        limits = parts.supervisor.limits(release, entry.flow.name)
        return cls.of(
            entry,
            entrypoint=entry.flow.entrypoint,
            summary=entry.flow.summary,
            durable=entry.name in durable_flows(release),
            limits=FlowLimits.of(limits),
            schedule=parts.schedules.of(entry.name),
            tags=entry.flow.tags,
            **others,
        )


class FlowHints(Shape):
    """What calling a flow does, as far as its author says."""

    read_only: bool | None
    destructive: bool | None
    idempotent: bool | None
    open_world: bool | None


class FlowExample(Shape):
    """One call of a flow, for agents to learn from."""

    summary: Annotated[str, text("Greet Ada")]
    inputs: shapes.Object
    result: Annotated[shapes.Json, Meta(description="null if the author gives none")]


class FlowWithForm(FlowSummary):
    """A flow, its form (null if any JSON object is accepted), and the form as JSON Schema."""

    description: str
    author: str
    organization: str
    version: str
    calls: Annotated[
        tuple[str, ...], Meta(description="flows of other services that it may always launch")
    ]
    form: list[dict[str, Any]] | None
    schema: Annotated[dict[str, Any], Meta(examples=[{"type": "object"}])]
    output: Annotated[
        dict[str, Any] | None,
        Meta(description="the JSON Schema of its result, if its author gives one"),
    ]
    examples: list[FlowExample]
    hints: FlowHints
    expose: Annotated[
        tuple[str, ...], Meta(description="the protocols over which agents may call it")
    ]
    path: str | UnsetType = UNSET
    dialect: Annotated[str | UnsetType, text("kodosumi")] = UNSET
    page: bool | UnsetType = UNSET

    @classmethod
    def render(cls, parts: Parts, entry: Entry, **others: Any) -> Self:
        """Return a flow as answers show it, without its author's further metadata."""
        path = entry.path
        return super().render(
            parts,
            entry,
            **{name: getattr(entry.flow, name) for name in _METADATA},
            calls=parts.catalog.release(entry.service).manifest.calls,
            form=entry.flow.form,
            output=entry.flow.output,
            examples=[FlowExample.of(each) for each in entry.flow.examples],
            hints=FlowHints.of(entry.flow.hints),
            expose=entry.flow.expose,
            schema=schema_of(entry),
            path=UNSET if path is None else path,
            dialect=entry.flow.dialect or UNSET,
            page=entry.flow.page or UNSET,
            **others,
        )


def schema_of(entry: Entry) -> dict[str, Any]:
    """Return the JSON Schema of a flow's inputs."""
    if entry.form is None:
        return {"type": "object"}
    is_text = entry.flow.dialect == KODOSUMI
    return text_schema.of(entry.form) if is_text else entry.form.json_schema()


class Tag(Shape):
    """A tag of flows, and how many flows have it."""

    name: Annotated[str, text("reports")]
    flows: int


class LaunchedWebhook(Shape):
    """The webhook of one execution, and its secret."""

    url: Annotated[str, text("https://example.com/hook")]
    secret: Annotated[str, text("whsec_" + "x" * 43 + "=")]


class Launched(Shape):
    """An accepted execution. With `Prefer: wait=N` also its state, and its outcome if it ended.

    With `Webhook: URL` also the webhook's secret.
    """

    result: shapes.Fid
    execution: Execution | UnsetType = UNSET
    outcome: Result | UnsetType = UNSET
    webhook: LaunchedWebhook | UnsetType = UNSET


#: The headers of a launch.
LAUNCH_HEADERS = [
    *(idempotency.HEADER, "Prefer", "Webhook", "Webhook-On", "Webhook-Secret"),
    *arrived.HEADERS,
]
#: The answers to a launch, at either of its endpoints.
LAUNCHED = {
    201: Answer(media={JSON: Launched}, headers=_HEADERS, about="launched"),
    200: Answer(media={JSON: Launched}, headers=_HEADERS, about="launched before"),
    202: Answer(media={JSON: Launched}, headers=_HEADERS, about="has not ended yet"),
}


@get("/v1/flows", guards=[requires("read")])
async def list_flows(
    request: Request,
    *,
    tag: list[str] | None = None,
    q: str | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Page[FlowSummary]:
    """List the flows that can be launched."""
    parts, tags, words = request.parts, tag or (), _words(q or "")
    await parts.schedules.up_to_date()
    entries = [each for each in visible(request) if each.has(tags, words)]
    page = list_query.page(entries, by=lambda each: each.name, limit=limit, cursor=cursor)
    return Page([FlowSummary.render(parts, entry) for entry in page.items], page.next)


@get("/v1/tags", guards=[requires("read")])
async def list_tags(request: Request, limit: int = 1000, cursor: str | None = None) -> Page[Tag]:
    """List the tags of flows, by name, and how many flows have each."""
    tags = [Tag(name, flows) for name, flows in count_tags(request).items()]
    return list_query.page(tags, by=lambda each: each.name, limit=limit, cursor=cursor)


@get(
    "/v1/flows/{name:path}",
    guards=[requires("read")],
    answers={200: FlowWithForm},
    errors=[ConflictError],
)
async def show_flow(request: Request, name: str) -> dict[str, Any]:
    """Show a flow with its form, also as the JSON Schema of its inputs."""
    await request.parts.schedules.up_to_date()
    entry = auth.find_flow(request, name.lstrip("/"))
    flow = FlowWithForm.render(request.parts, entry)
    # A dict, because the author's further metadata are members, too.
    return {**entry.flow.more, **msgspec.to_builtins(flow)}


@post(
    "/v1/flows/{name:path}",
    guards=[requires("launch")],
    body=shapes.Object,
    headers=LAUNCH_HEADERS,
    answers=LAUNCHED,
    errors=[InputsError, ConflictError, EndpointError, TimedOutError],
)
async def launch(request: Request, name: str) -> Response[Launched]:
    """Validate inputs and accept an execution; the fid is returned once it is committed.

    The answer is 201, or 200 if the idempotency key was already used for this launch. With
    `Prefer: wait=N` the answer comes when the execution has ended, with its outcome. It is 202 if
    it has not ended within N seconds. With `Prefer: prefilled`, a flow that was written for
    Kodosumi also gets the values that its form shows at first.
    """
    return await launch_entry(request, auth.find_flow(request, name.lstrip("/")))


async def launch_entry(
    request: Request, entry: Entry, *, call: Call | None = None
) -> Response[Launched]:
    """Launch a flow with the inputs in a request's body, and return the answer.

    `call` is the request itself if it is to the flow's own path.
    """
    auth.require_flow(request.auth, entry.name)
    inputs = _object(await request.body())
    webhooks = await _make_webhooks(request)
    launch_it = partial(accept, request, entry, inputs, call=call, webhooks=webhooks)
    if (seconds := _patience(request.headers.get("prefer", ""))) is not None:
        return await _launch_and_wait(request, launch_it, seconds)
    execution, is_new = await launch_it()
    launched = Launched(execution.fid, webhook=await _webhook_of(request, execution))
    return _answer(launched, status_code=201 if is_new else 200)


async def _make_webhooks(request: Request) -> tuple[Webhook, ...]:
    """Return the webhook that a launch's headers ask for, if they do."""
    url = request.headers.get("webhook")
    if url is None:
        return ()
    events = request.headers.get("webhook-on", ",".join(webhook_model.USUAL))
    webhook, _ = await request.parts.webhooks.make(
        webhook_model.KOCO,
        url,
        by=request.auth.maker,
        name=orders.OF_LAUNCH,
        events=[name for each in events.split(",") if (name := each.strip())],
        secret=request.headers.get("webhook-secret", ""),
    )
    return (webhook,)


async def _webhook_of(request: Request, execution: model.Execution) -> LaunchedWebhook | UnsetType:
    """Return the webhook that the execution of a launch has, with its secret.

    If the launch was repeated, it is that of the first one.
    """
    url = request.headers.get("webhook")
    if url is None:
        return UNSET
    webhook = await request.parts.webhooks.of_launch(execution.id, by=request.auth.maker)
    return UNSET if webhook is None else LaunchedWebhook(*webhook)


async def accept(
    request: Request,
    entry: Entry,
    inputs: dict[str, Any],
    *,
    call: Call | None = None,
    key: str | None = None,
    tags: tuple[str, ...] = (),
    webhooks: tuple[Webhook, ...] = (),
    about: dict[str, Any] | None = None,
    prefilled: bool = False,
    trace: Trace | None = None,
) -> tuple[model.Execution, bool]:
    """Launch a flow for a request; return the execution, and whether it is new.

    `call` is the request itself if it is to the flow's own path. `key` is the idempotency key if
    it is not in the header. `tags` are added to the flow's, `about` to its `meta` event, and
    `webhooks` hear of it. With `prefilled`, a flow that was written for Kodosumi also gets what its
    form shows at first. `trace` is the span that it belongs below, if the headers do not tell it.

    Raises as `Launches.launch` does, and refuses a flow that is not the caller's.
    """
    auth.require_flow(request.auth, entry.name)
    return await request.parts.launches.launch(
        entry,
        inputs,
        user=request.auth.name,
        key=key or request.headers.get("idempotency-key"),
        about={"request": request.auth.request, **(about or {})},
        audited=audit.launch_entry(request),
        call=call,
        as_browser=prefilled or (call is None and _wants_prefilled(request)),
        asker=request.asker,
        tags=tags,
        webhooks=webhooks,
        trace=trace,
    )


def _wants_prefilled(request: Request) -> bool:
    return bool(_PREFILLED.search(request.headers.get("prefer", "")))


async def _launch_and_wait(
    request: Request,
    launch_it: Callable[[], Awaitable[tuple[model.Execution, bool]]],
    seconds: int,
) -> Response[Launched]:
    """Launch, and answer when the execution has ended or the time is over."""
    parts = request.parts
    # Counted before the launch, because a refused request must not launch anything.
    with parts.streams.open(request.auth):
        execution, is_new = await launch_it()
        now = await results.wait_for_end(parts, execution, timeout_s=seconds)
    code, outcome = 202, None
    if now.status.is_final:
        code, outcome = 201 if is_new else 200, await results.read_outcome(parts, now)
    webhook = await _webhook_of(request, now)
    launched = Launched(now.fid, Execution.render(parts, now), outcome or UNSET, webhook)
    return _answer(launched, status_code=code, applied=f"wait={seconds}")


def visible(request: Request) -> list[Entry]:
    """Return the flows that the caller may see."""
    return [each for each in request.parts.catalog.entries() if request.auth.reaches(each.name)]


def count_tags(request: Request) -> Counter[str]:
    """Return how many flows that the caller may see have each tag."""
    return Counter(tag for each in visible(request) for tag in set(each.flow.tags))


def _words(text: str) -> list[str]:
    """Return the words that flows are searched for."""
    if len(text) > _LONGEST:
        raise UsageError(f"q has {_LONGEST} characters at most, this one {len(text)}")
    return text.split()


def _answer(launched: Launched, *, status_code: int, applied: str = "") -> Response[Launched]:
    headers = {"Location": f"/v1/executions/{launched.result}"}
    headers |= {"Preference-Applied": applied} if applied else {}
    return Response(launched, status_code=status_code, headers=headers)


def _patience(prefer: str) -> int | None:
    """Return how many seconds a client would wait (RFC 7240), or None if it does not say."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), _LONGEST_WAIT_S) if found else None


def _object(body: bytes) -> dict[str, Any]:
    value = protocol.decode(body)
    if not isinstance(value, dict):
        raise UsageError(
            f"the body is a JSON {type(value).__name__}", hint="send the inputs as an object"
        )
    return value


ROUTES = (list_flows, list_tags, show_flow, launch)
