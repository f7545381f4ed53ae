"""Health: for everybody in numbers, and for callers with a key in detail."""

from typing import Annotated

from litestar import Response, get, post

from koco import __version__
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.openapi.annotations import JSON, Answer
from koco.api.openapi.shapes import Shape, text
from koco.control.health.doctor import OK, Doctor, Finding, Health

#: When to ask again if something is wrong (seconds).
_RETRY_S = 5


class Findings(Shape):
    """The findings of the doctor."""

    items: list[Finding]
    next: None
    version: Annotated[str, text("0.1.0")]


@get(
    "/health",
    answers={
        200: Health,
        503: Answer(media={JSON: Health}, headers=["Retry-After"]),
    },
)
async def health(request: Request) -> Response[Health]:
    """Show whether executions can run; 503 if those of some services cannot."""
    return await check_health(request)


async def check_health(request: Request) -> Response[Health]:
    """Return the answer to a request for the health."""
    found = await _doctor(request).health()
    if found.status == "ok":
        return Response(found)
    return Response(found, status_code=503, headers={"Retry-After": str(_RETRY_S)})


@post("/v1/doctor", guards=[requires("read")], status_code=200)
async def examine(request: Request) -> Findings:
    """Check everything, each part within a deadline, and prove that an event can travel."""
    scopes = ", ".join(sorted(request.auth.scopes))
    key = f"{request.auth.name!r} is known, with the scopes: {scopes}"
    # Findings about services are only for callers who may see all of them.
    findings = await _doctor(request).findings(of_services=not request.auth.flows)
    return Findings([Finding("key", OK, key), *findings], next=None, version=__version__)


def _doctor(request: Request) -> Doctor:
    doctor: Doctor = request.app.state.doctor
    return doctor


ROUTES = (health, examine)
