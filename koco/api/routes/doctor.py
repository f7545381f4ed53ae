"""Is it well? For everybody, in numbers; and with a key, in every part and what to do."""

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State

from koco import __version__
from koco.api.http.auth import requires
from koco.api.openapi import schemas
from koco.api.openapi.annotations import JSON, Answer
from koco.control.access.caller import Caller
from koco.control.health.doctor import OK, Doctor, Finding

#: When to look again at what is not well (seconds).
_AGAIN_S = 5


@get(
    "/health",
    answers={
        200: schemas.Health,
        503: Answer(media={JSON: schemas.Health}, headers=["Retry-After"]),
    },
)
async def health(state: State) -> Response[dict[str, Any]]:
    """Say whether executions can run; 503 where they can not, or not all services' can."""
    found = await _doctor(state).health()
    if found["status"] == "ok":
        return Response(found)
    return Response(found, status_code=503, headers={"Retry-After": str(_AGAIN_S)})


@post("/v1/doctor", guards=[requires("read")], status_code=200, answers={200: schemas.Findings})
async def examine(request: Request[Any, Caller, State]) -> dict[str, Any]:
    """Look at everything, each part within a deadline, and prove that an event can travel."""
    scopes = ", ".join(sorted(request.auth.scopes))
    key = f"{request.auth.name!r} is known, with the scopes: {scopes}"
    # What is found of services is told to those who may see all of them.
    findings = await _doctor(request.app.state).findings(of_services=not request.auth.flows)
    found = [Finding("key", OK, key), *findings]
    return {"items": msgspec.to_builtins(found), "next": None, "version": __version__}


def _doctor(state: State) -> Doctor:
    doctor: Doctor = state.doctor
    return doctor


ROUTES = (health, examine)
