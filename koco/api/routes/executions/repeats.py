"""Launch an ended execution again: afresh, or after some of its recorded steps."""

from typing import Literal

import msgspec
from litestar import Response, post

from koco.api.http import audit, auth, json_body
from koco.api.http.auth import requires
from koco.api.http.request import Request
from koco.api.middleware import idempotency
from koco.api.openapi.annotations import JSON, Body
from koco.api.routes.executions.executions import Execution
from koco.control.tracing import arrived
from koco.errors import ConflictError, InputsError, LimitError, NotFoundError


class ResumeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The step before which an execution resumes, and on which release.

    `from` is a step's key, or its name for the first of that name. If it is null, it is the step
    that failed.
    """

    step: str | None = msgspec.field(default=None, name="from")
    release: Literal["own", "live"] = "own"


@post(
    "/v1/executions/{fid:str}/retry",
    guards=[requires("launch")],
    headers=[idempotency.HEADER, *arrived.HEADERS],
    answers={201: Execution, 200: Execution},
    errors=[InputsError, ConflictError, LimitError],
)
async def retry_execution(request: Request, fid: str) -> Response[Execution]:
    """Launch an ended execution again, on the live release.

    The new one has the same inputs (hidden ones, too), files in `in/`, tags and entrypoint. The
    live form must accept the inputs; a service's own endpoint is not asked again. The answer is
    201, or 200 if the idempotency key was already used for this retry.
    """
    parts = request.parts
    former = await auth.find_execution(request, fid)
    execution, is_new = await parts.launches.retry(
        parts.catalog.find(former.flow),
        former,
        user=request.auth.name,
        key=request.headers.get(idempotency.HEADER),
        audited=audit.launch_entry(request, retry_of=former.fid),
        asker=request.asker,
    )
    return Response(Execution.render(parts, execution), status_code=201 if is_new else 200)


@post(
    "/v1/executions/{fid:str}/resume",
    guards=[requires("launch")],
    body=Body(media={JSON: ResumeRequest}, required=False),
    headers=[idempotency.HEADER, *arrived.HEADERS],
    answers={201: Execution, 200: Execution},
    errors=[InputsError, ConflictError, NotFoundError, LimitError],
)
async def resume_execution(request: Request, fid: str) -> Response[Execution]:
    """Launch an ended execution again, with the recorded steps before one of them.

    Without `from`, all steps before the one that failed are kept. The new execution runs on the
    release of the ended one, or on the live one, with the same inputs, files in `in/`, tags and
    entrypoint. The answer is 201, or 200 if the idempotency key was already used for this. Only the
    user who launched the ended one and admins may do this, because the new one has its results.
    """
    hint = 'such as {"from": "fetch:3", "release": "live"}, or none'
    wish = await json_body.read(request, ResumeRequest, hint=hint, default=b"{}")
    parts = request.parts
    former = await auth.find_execution(request, fid)
    await auth.require_owner(request, former, "resume from the steps")
    execution, is_new = await parts.launches.resume(
        former,
        step=wish.step,
        live=wish.release == "live",
        user=request.auth.name,
        key=request.headers.get(idempotency.HEADER),
        audited=audit.launch_entry(request, resume_of=former.fid),
        asker=request.asker,
    )
    return Response(Execution.render(parts, execution), status_code=201 if is_new else 200)


ROUTES = (retry_execution, resume_execution)
