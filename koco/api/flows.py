"""Flows: what can be launched, and launching it."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State

from koco.api.access import requires
from koco.control.catalog import Entry
from koco.control.parts import Parts
from koco.errors import UsageError
from koco.events.line import encode_payload
from koco.store.model import NewExecution


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "service": entry.service,
        "entrypoint": entry.flow["entrypoint"],
        "summary": entry.flow.get("summary"),
        "release": entry.release,
    }


@get("/v1/flows", guards=[requires("read")])
async def list_flows(state: State) -> dict[str, Any]:
    """List the flows that can be launched."""
    parts: Parts = state.parts
    return {"items": [_summary(entry) for entry in parts.catalog.entries()], "next": None}


@get("/v1/flows/{name:path}", guards=[requires("read")])
async def show_flow(state: State, name: str) -> dict[str, Any]:
    """Show a flow with its form."""
    entry = state.parts.catalog.find(name.lstrip("/"))
    return {**entry.flow, **_summary(entry)}


@post("/v1/flows/{name:path}", guards=[requires("launch")])
async def launch(request: Request[str, Any, State], name: str) -> dict[str, Any]:
    """Validate inputs and accept an execution; the fid is returned once it is committed."""
    parts: Parts = request.app.state.parts
    entry = parts.catalog.find(name.lstrip("/"))
    inputs = _object(await request.body())
    if entry.form is not None:
        inputs = entry.form.validate(inputs)
    execution = await parts.supervisor.launch(
        NewExecution(
            flow=entry.name,
            service=entry.service,
            release=entry.release,
            # Dates and the like travel as JSON; the runner reads them with the same form.
            inputs=msgspec.json.decode(encode_payload(inputs)),
            user=request.scope["user"],
            tags=tuple(entry.flow.get("tags") or ()),
        )
    )
    return {"result": execution.fid}


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(
            f"the body is no JSON: {exc}", hint="send the inputs as an object"
        ) from exc
    if not isinstance(value, dict):
        raise UsageError(
            f"the body is a JSON {type(value).__name__}", hint="send the inputs as an object"
        )
    return value


ROUTES = (list_flows, show_flow, launch)
