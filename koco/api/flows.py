"""Flows: what can be launched, and launching it."""

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from koco.api import access, audit, shapes
from koco.api.access import requires
from koco.control.caller import Caller
from koco.control.catalog import Entry
from koco.control.limits import limits_of
from koco.control.parts import Parts
from koco.errors import ConflictError, EndpointError, InputsError, TimedOutError, UsageError
from koco.sdk import handlers


def _summary(parts: Parts, entry: Entry) -> dict[str, Any]:
    limits = limits_of(parts.catalog.release(entry.service).manifest, entry.flow["name"])
    return {
        "name": entry.name,
        "service": entry.service,
        "entrypoint": entry.flow["entrypoint"],
        "summary": entry.flow.get("summary"),
        "release": entry.release,
        "limits": msgspec.to_builtins(limits),
        "schedule": parts.schedules.of(entry.name),
    }


@get("/v1/flows", guards=[requires("read")], answers={200: shapes.Page[shapes.FlowSummary]})
async def list_flows(request: Request[Any, Caller, State]) -> dict[str, Any]:
    """List the flows that can be launched."""
    parts: Parts = request.app.state.parts
    entries = [each for each in parts.catalog.entries() if request.auth.reaches(each.name)]
    return {"items": [_summary(parts, entry) for entry in entries], "next": None}


@get(
    "/v1/flows/{name:path}",
    guards=[requires("read")],
    answers={200: shapes.FlowWithForm},
    errors=[ConflictError],
)
async def show_flow(request: Request[Any, Caller, State], name: str) -> dict[str, Any]:
    """Show a flow with its form, also as the JSON Schema of its inputs."""
    parts: Parts = request.app.state.parts
    entry = access.flow(request, name.lstrip("/"))
    schema = entry.form.json_schema() if entry.form is not None else {"type": "object"}
    return {**entry.flow, **_summary(parts, entry), "schema": schema}


@post(
    "/v1/flows/{name:path}",
    guards=[requires("launch")],
    body=shapes.Object,
    headers=["Idempotency-Key"],
    answers={201: shapes.Launched, 200: shapes.Launched},
    errors=[InputsError, ConflictError, EndpointError, TimedOutError],
)
async def launch(request: Request[Any, Caller, State], name: str) -> Response[dict[str, Any]]:
    """Validate inputs and accept an execution; the fid is returned once it is committed.

    201, or 200 where the idempotency key was used for the same before.
    """
    return await launched(request, access.flow(request, name.lstrip("/")))


async def launched(request: Request[Any, Caller, State], entry: Entry) -> Response[dict[str, Any]]:
    """Launch a flow with the inputs in a request's body; return the answer to it."""
    access.require_flow(request.auth, entry.name)
    parts: Parts = request.app.state.parts
    inputs = _object(await request.body())
    key = request.headers.get("idempotency-key")
    execution, is_new = await parts.launches.launch(
        entry, inputs, user=request.auth.name, key=key, audited=audit.launch(request)
    )
    return Response({"result": execution.fid}, status_code=201 if is_new else 200)


def _object(body: bytes) -> dict[str, Any]:
    value = handlers.decode(body)
    if not isinstance(value, dict):
        raise UsageError(
            f"the body is a JSON {type(value).__name__}", hint="send the inputs as an object"
        )
    return value


ROUTES = (list_flows, show_flow, launch)
