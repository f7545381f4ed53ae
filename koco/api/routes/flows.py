"""Flows: what can be launched, and launching it."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from koco.api.http import audit, auth, list_query
from koco.api.http.auth import requires
from koco.api.middleware import idempotency
from koco.api.openapi import schemas
from koco.api.openapi.annotations import JSON, Answer
from koco.api.routes import executions, results
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.runners.concurrency import limits_of
from koco.control.services.catalog import Entry
from koco.errors import ConflictError, EndpointError, InputsError, TimedOutError, UsageError
from koco.sdk.endpoint import handlers
from koco.store.model import Execution

#: The longest that a launch waits for its end (seconds).
_LONGEST_WAIT_S = 60
#: The preference, among others, as a number or quoted.
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=[,;]|$)', re.IGNORECASE)

_HEADERS = ["Location", "Preference-Applied"]
#: What a launch is answered with, at either of its endpoints.
LAUNCHED = {
    201: Answer(media={JSON: schemas.Launched}, headers=_HEADERS, about="launched"),
    200: Answer(media={JSON: schemas.Launched}, headers=_HEADERS, about="launched before"),
    202: Answer(media={JSON: schemas.Launched}, headers=_HEADERS, about="has not ended yet"),
}


def _summary(parts: Parts, entry: Entry) -> dict[str, Any]:
    limits = limits_of(parts.catalog.release(entry.service).manifest, entry.flow.name)
    return {
        "name": entry.name,
        "service": entry.service,
        "entrypoint": entry.flow.entrypoint,
        "summary": entry.flow.summary,
        "release": entry.release,
        "limits": limits.model_dump(),
        "schedule": parts.schedules.of(entry.name),
    }


@get("/v1/flows", guards=[requires("read")], answers={200: schemas.Page[schemas.FlowSummary]})
async def list_flows(
    request: Request[Any, Caller, State], limit: int = 1000, cursor: str | None = None
) -> dict[str, Any]:
    """List the flows that can be launched."""
    parts: Parts = request.app.state.parts
    entries = [each for each in parts.catalog.entries() if request.auth.reaches(each.name)]
    some, after = list_query.page(entries, by=lambda each: each.name, limit=limit, cursor=cursor)
    return {"items": [_summary(parts, entry) for entry in some], "next": after}


@get(
    "/v1/flows/{name:path}",
    guards=[requires("read")],
    answers={200: schemas.FlowWithForm},
    errors=[ConflictError],
)
async def show_flow(request: Request[Any, Caller, State], name: str) -> dict[str, Any]:
    """Show a flow with its form, also as the JSON Schema of its inputs."""
    parts: Parts = request.app.state.parts
    entry = auth.flow(request, name.lstrip("/"))
    schema = entry.form.json_schema() if entry.form is not None else {"type": "object"}
    about = msgspec.structs.asdict(entry.flow)
    if entry.path is None:
        del about["path"]
    return {**about.pop("more"), **about, **_summary(parts, entry), "schema": schema}


@post(
    "/v1/flows/{name:path}",
    guards=[requires("launch")],
    body=schemas.Object,
    headers=[idempotency.HEADER, "Prefer"],
    answers=LAUNCHED,
    errors=[InputsError, ConflictError, EndpointError, TimedOutError],
)
async def launch(request: Request[Any, Caller, State], name: str) -> Response[dict[str, Any]]:
    """Validate inputs and accept an execution; the fid is returned once it is committed.

    201, or 200 where the idempotency key was used for the same before. With `Prefer: wait=N`
    it is answered with the outcome once it has ended; 202 where it has not within N seconds.
    """
    return await launched(request, auth.flow(request, name.lstrip("/")))


async def launched(request: Request[Any, Caller, State], entry: Entry) -> Response[dict[str, Any]]:
    """Launch a flow with the inputs in a request's body; return the answer to it."""
    auth.require_flow(request.auth, entry.name)
    parts: Parts = request.app.state.parts
    inputs = _object(await request.body())
    launch_it = partial(
        parts.launches.launch,
        entry,
        inputs,
        user=request.auth.name,
        key=request.headers.get("idempotency-key"),
        about={"request": request.auth.request},
        audited=audit.launch(request),
    )
    if (seconds := _patience(request.headers.get("prefer", ""))) is not None:
        return await _awaited(request, launch_it, seconds)
    execution, is_new = await launch_it()
    return _accepted(execution, status_code=201 if is_new else 200)


async def _awaited(
    request: Request[Any, Caller, State],
    launch_it: Callable[[], Awaitable[tuple[Execution, bool]]],
    seconds: int,
) -> Response[dict[str, Any]]:
    """Launch; answer with the outcome, or once so many seconds are over."""
    parts: Parts = request.app.state.parts
    # Counted before anything is launched: what is refused has not happened.
    with parts.streams.open(request.auth):
        execution, is_new = await launch_it()
        now = await results.ended(parts, execution, timeout_s=seconds)
    code, more = 202, {"execution": executions.render(parts, now)}
    if now.status.is_final:
        code, more["outcome"] = 201 if is_new else 200, await results.outcome(parts, now)
    answer = _accepted(now, status_code=code, **more)
    answer.headers["Preference-Applied"] = f"wait={seconds}"
    return answer


def _accepted(accepted: Execution, *, status_code: int, **more: Any) -> Response[dict[str, Any]]:
    headers = {"Location": f"/v1/executions/{accepted.fid}"}
    return Response({"result": accepted.fid, **more}, status_code=status_code, headers=headers)


def _patience(prefer: str) -> int | None:
    """Return how many seconds a client would wait (RFC 7240); None where it does not say."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), _LONGEST_WAIT_S) if found else None


def _object(body: bytes) -> dict[str, Any]:
    value = handlers.decode(body)
    if not isinstance(value, dict):
        raise UsageError(
            f"the body is a JSON {type(value).__name__}", hint="send the inputs as an object"
        )
    return value


ROUTES = (list_flows, show_flow, launch)
