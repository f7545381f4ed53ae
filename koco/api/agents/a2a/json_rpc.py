"""The JSON-RPC binding of A2A (the specification's section 9)."""

from functools import partial
from typing import Any

import msgspec
from litestar import Response, post

from koco.api.agents.a2a import answers, refusals
from koco.api.agents.a2a.faults import NO_METHOD, NOT_A_REQUEST, A2AError
from koco.api.agents.a2a.operations.agent import Agent
from koco.api.agents.a2a.operations.table import OPERATIONS, perform
from koco.api.agents.a2a.reading import bodies
from koco.api.http.auth import requires
from koco.api.http.request import Request


class Call(msgspec.Struct, frozen=True):
    """A request."""

    jsonrpc: str
    method: str
    id: str | int | float | None
    params: Any = msgspec.field(default_factory=dict)


@post(
    ["/a2a", "/a2a/{service:str}/{flow:str}"],
    guards=[requires("read")],
    status_code=200,
    reads=True,
)
async def call_agent(request: Request, service: str = "", flow: str = "") -> Response[Any]:
    """Ask the agent of a flow, or the one of all flows that the caller may launch."""
    call = _read(await bodies.read(request))
    refusals.begin(request, call.id)
    if call.method not in OPERATIONS:
        raise A2AError(NO_METHOD, f"there is no method {call.method[:80]!r}")
    agent = Agent(request, f"{service}/{flow}" if service else None)
    found = await perform(agent, call.method, call.params)
    if isinstance(found, dict):
        return answers.whole(_result(call.id, found), answers.JSON)
    return answers.stream(request, *found, partial(_result, call.id))


def _read(given: Any) -> Call:
    try:
        call = msgspec.convert(given, Call)
    except msgspec.ValidationError as exc:
        raise A2AError(NOT_A_REQUEST, f"the body is no request of JSON-RPC: {exc}") from exc
    if call.jsonrpc != "2.0":
        raise A2AError(NOT_A_REQUEST, 'the member `jsonrpc` must be "2.0"')
    return call


def _result(number: Any, found: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": found}


ROUTES = (call_agent,)
